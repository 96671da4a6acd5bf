"""Who may sign for a system, and which attestations a release needs. The file that holds one is the authority."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from app.core import strict_yaml
from app.core.errors import Denied, UsageError
from app.core.files import read_bounded
from app.core.reason_codes import Reason

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2048, strip_whitespace=False)]
_MAX_FILE = 256 * 1024


class SignerIdentity(BaseModel):
    """A certificate identity (its SAN, compared exactly) and the OIDC issuer that vouched for it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identity: _Text
    issuer: _Text


class VerificationPolicy(BaseModel):
    """Any one of `identities` may sign; every one of `required_predicates` must be attested.

    Whoever may declare one of the two modes is listed for that alone: nobody may unless it says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identities: list[SignerIdentity]
    required_predicates: list[_Text] = []
    shadow: list[SignerIdentity] = []
    break_glass: list[SignerIdentity] = []

    def require_somebody(self) -> None:
        """Deny when nobody may sign: an empty set never verifies."""
        if not self.identities:
            raise Denied(Reason.EVIDENCE_POLICY_EMPTY, "no identity may sign", step="policy", field="identities")

    @classmethod
    def load(cls, path: Path) -> VerificationPolicy:
        """Read a policy from a YAML file."""
        raw = read_bounded(path, _MAX_FILE, "the verification policy")
        try:
            return cls.model_validate(strict_yaml.load(raw))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise UsageError(f"{path}: {where}: {first['msg']}") from error
        except strict_yaml.StrictYAMLError as error:
            raise UsageError(f"{path} is {error}") from error

    @classmethod
    def of(cls, identity: str | None, issuer: str | None, file: Path | None) -> VerificationPolicy:
        """What the options `--certificate-identity`, `--certificate-oidc-issuer` and `--policy` mean."""
        if file:
            if identity or issuer:
                raise UsageError("give --policy, or --certificate-identity with --certificate-oidc-issuer, not both")
            return cls.load(file)
        if not identity or not issuer:
            raise UsageError("say who may sign: --certificate-identity and --certificate-oidc-issuer, or --policy FILE")
        return cls(identities=[SignerIdentity(identity=identity, issuer=issuer)])
