"""Who may sign what a proof holds: batches of records, and releases of policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from app.core import strict_yaml
from app.core.complaint import complaint
from app.core.errors import UsageError
from app.core.files import read_bounded
from app.core.verification_policy import SignerIdentity, VerificationPolicy

_MAX_FILE = 256 * 1024


class ProofPolicy(BaseModel):
    """Any one of `sidecars` may sign batches; any one of `releases` may sign policies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sidecars: list[SignerIdentity]
    releases: list[SignerIdentity] = []
    #: Predicate types that must be among a release's evidence.
    required_predicates: list[Annotated[str, StringConstraints(min_length=1, max_length=2048)]] = []

    def of_sidecars(self) -> VerificationPolicy:
        """For the batch."""
        return VerificationPolicy(identities=self.sidecars)

    def of_releases(self) -> VerificationPolicy:
        """For the release."""
        return VerificationPolicy(identities=self.releases, required_predicates=self.required_predicates)

    @classmethod
    def load(cls, path: Path) -> ProofPolicy:
        """Read a policy from a YAML file."""
        raw = read_bounded(path, _MAX_FILE, "the proof policy")
        try:
            return cls.model_validate(strict_yaml.load(raw))
        except ValidationError as error:
            raise UsageError(f"{path}: {complaint(error)}") from error
        except strict_yaml.StrictYAMLError as error:
            raise UsageError(f"{path} is {error}") from error

    @classmethod
    def of(
        cls, sidecar: tuple[str | None, str | None], release: tuple[str | None, str | None], file: Path | None
    ) -> ProofPolicy:
        """What the options of `placet proof verify` mean: pairs of an identity and its issuer, or a file."""
        if file:
            if any((*sidecar, *release)):
                raise UsageError("give --policy, or the options that name identities and issuers, not both")
            return cls.load(file)
        if not all(sidecar):
            raise UsageError(
                "say which sidecar may sign: --certificate-identity and --certificate-oidc-issuer, or --policy FILE"
            )
        if any(release) and not all(release):
            raise UsageError("--release-identity and --release-oidc-issuer belong together")
        return cls(sidecars=[_identity(*sidecar)], releases=[_identity(*release)] if all(release) else [])


def _identity(identity: str | None, issuer: str | None) -> SignerIdentity:
    return SignerIdentity(identity=identity or "", issuer=issuer or "")
