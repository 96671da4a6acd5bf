"""Who may sign what a proof holds, batches and releases of policies, and what must be proved of these releases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from app.core import strict_yaml
from app.core.complaint import complaint
from app.core.errors import UsageError
from app.core.files import read_bounded
from app.core.proof_release import Demands, WantedSource
from app.core.verification_policy import SignerIdentity, VerificationPolicy

_MAX_FILE = 256 * 1024

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


def _source(text: str) -> str:
    WantedSource.read(text)
    return text


class ProofPolicy(BaseModel):
    """Any one of `sidecars` may sign batches; any one of `releases` may sign policies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sidecars: list[SignerIdentity]
    releases: list[SignerIdentity] = []
    #: Predicate types that must be among a release's evidence.
    required_predicates: list[_Text] = []
    #: Whether it must be proved that the tests of a release passed.
    tests_passed: bool = False
    #: Where a release may come from, if that must be proved: `app.core.proof_release.WantedSource`.
    sources: list[Annotated[_Text, AfterValidator(_source)]] = []

    def of_sidecars(self) -> VerificationPolicy:
        """For the batch."""
        return VerificationPolicy(identities=self.sidecars)

    def of_releases(self) -> VerificationPolicy:
        """For the release."""
        return VerificationPolicy(identities=self.releases, required_predicates=self.required_predicates)

    def demands(self) -> Demands:
        """What must be proved of the release besides."""
        return Demands(self.tests_passed, tuple(map(WantedSource.read, self.sources)))

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
        cls,
        sidecar: tuple[str | None, str | None],
        release: tuple[str | None, str | None],
        file: Path | None,
        *,
        tests_passed: bool = False,
        sources: Sequence[str] = (),
    ) -> ProofPolicy:
        """What the options of `placet proof verify` mean: pairs of an identity and its issuer, or a file."""
        if file:
            if any((*sidecar, *release, tests_passed, *sources)):
                raise UsageError("give --policy, or the options that stand for what it says, not both")
            return cls.load(file)
        if not all(sidecar):
            raise UsageError(
                "say which sidecar may sign: --certificate-identity and --certificate-oidc-issuer, or --policy FILE"
            )
        if any(release) and not all(release):
            raise UsageError("--release-identity and --release-oidc-issuer belong together")
        if (tests_passed or sources) and not any(release):
            raise UsageError("--tests-passed and --source need --release-identity: whose word counts")
        by, signers = _identity(*sidecar), [_identity(*release)] if all(release) else []
        try:
            return cls(sidecars=[by], releases=signers, tests_passed=tests_passed, sources=list(sources))
        except ValidationError as error:
            raise UsageError(f"--source: {complaint(error).partition(': ')[2]}") from error


def _identity(identity: str | None, issuer: str | None) -> SignerIdentity:
    return SignerIdentity(identity=identity or "", issuer=issuer or "")
