"""Who may sign for a system, and which attestations a release needs. The file that holds one is the authority."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

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
    """Any one of `identities` may sign; every one of `required_predicates` must be attested."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identities: list[SignerIdentity]
    required_predicates: list[_Text] = []

    def require_somebody(self) -> None:
        """Deny when nobody may sign: an empty set never verifies."""
        if not self.identities:
            raise Denied(Reason.EVIDENCE_POLICY_EMPTY, "no identity may sign", step="policy", field="identities")

    @classmethod
    def load(cls, path: Path) -> VerificationPolicy:
        """Read a policy from a YAML file."""
        raw = read_bounded(path, _MAX_FILE, "the verification policy")
        try:
            return cls.model_validate(yaml.load(raw, Loader=_UniqueKeys))  # noqa: S506 - a SafeLoader, made stricter
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise UsageError(f"{path}: {where}: {first['msg']}") from error
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
            # PyYAML has no error of its own for an impossible date, a wrong `!!int`, or too deep a nesting.
            raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from error

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


class _UniqueKeys(yaml.SafeLoader):
    """A SafeLoader that refuses a key that stands twice: the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
