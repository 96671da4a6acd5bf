"""What a proof shows of the policy that decided: who signed it, from which source it was built, how its tests ended.

The words are those of whoever may sign releases. What they do not say is not proved; what is demanded and not said
denies. As for a release, every statement of a kind must say so, and not one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from app.core import statements
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement, verify_evidence
from app.core.proof_form import Proof
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

#: How a source is named: as `placet bundle build` takes it, the repository with or without a commit. It has a path,
#: so that what follows an @ is never a host.
_SOURCE = re.compile(
    r"(?P<repository>git\+(?:[a-z]+://[^\s/@]+/[^\s@]+|[\w.-]+@[\w.-]+:[^\s@]+))"
    r"(?:@(?P<commit>[0-9a-f]{40}|[0-9a-f]{64}))?",
    re.ASCII,
)
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_Any = TypeVar("_Any")


@dataclass(frozen=True)
class WantedSource:
    """A repository that a policy may come from, and the commit, if only one will do."""

    repository: str
    commit: str | None

    @classmethod
    def read(cls, text: str) -> WantedSource:
        """Of `git+https://HOST/PATH`, with @COMMIT or without. Raises `ValueError`."""
        found = _SOURCE.fullmatch(text)
        if found is None:
            raise ValueError("a source is git+https://HOST/PATH, or that with @ and a commit's whole hash")
        return cls(found["repository"], found["commit"])

    def covers(self, commit: Commit) -> bool:
        """Whether that commit is meant, and nothing else was built than what it holds."""
        named = commit.place == self.repository or commit.place.startswith(f"{self.repository}@")
        exact = _HASH.fullmatch(commit.hash) and self.commit in (None, commit.hash)
        return bool(named and exact and not commit.changed)


@dataclass(frozen=True)
class Demands:
    """What must be proved of the policy that decided, besides who signed it."""

    #: That its tests passed: not that they were left out or failed.
    tests_passed: bool = False
    #: That each commit it was built from is one of these; nothing is demanded where there are none.
    sources: Sequence[WantedSource] = ()


NOTHING = Demands()


@dataclass(frozen=True)
class Commit:
    """A commit that provenance names."""

    #: The URI or the name in the provenance, which may end with the revision that was asked for.
    place: str
    hash: str
    #: Whether the files that were built are known to be others than those of the commit.
    changed: bool

    def __str__(self) -> str:
        return self.place if self.place.endswith(f"@{self.hash}") else f"{self.place}@{self.hash}"


@dataclass(frozen=True)
class TestResult:
    """What somebody who may sign releases says of tests."""

    #: PASSED, WARNED or FAILED; whatever it says.
    result: str
    #: Percent, where it says so.
    coverage: float | None
    passed: bool
    signer: SignerIdentity


@dataclass(frozen=True)
class ProvenRelease:
    """The policy that decided, and what those who may sign it say of it."""

    digest: str
    signer: SignerIdentity
    signed_at: datetime
    #: Empty when the provenance names none.
    commits: tuple[Commit, ...]
    #: Source files by name and digest, as the provenance names them.
    files: tuple[tuple[str, str], ...]
    tests: tuple[TestResult, ...]
    predicates: tuple[str, ...]

    @property
    def source_known(self) -> bool:
        """Whether it is proved from which commits it was built."""
        return bool(self.commits) and not any(one.changed for one in self.commits)

    @property
    def tests_passed(self) -> bool:
        """Whether it is proved that tests passed."""
        return bool(self.tests) and all(one.passed for one in self.tests)


def verified_release(
    proof: Proof, named: str | None, policy: VerificationPolicy, trust: TrustConfig, demands: Demands
) -> ProvenRelease | None:
    """The release of the policy that the record names; None when it names none, or was erased. Raises `Denied`."""
    release = proof.release
    given = release.digest if release else None
    if named != given:
        detail = f"the record names {named or 'no policy'}, the proof holds {given or 'no release'}"
        raise Denied(Reason.PROOF_POLICY, detail, step="release", field="release.digest")
    if release is None:
        if proof.record is None and (demands != NOTHING or policy.requirements):
            detail = "the record was erased, so that nothing can be demanded of the policy that decided"
            raise Denied(Reason.EVIDENCE_INCOMPLETE, detail, step="release", field="release")
        return None
    if not release.evidence:
        raise Denied(Reason.EVIDENCE_MISSING, "the release is not signed", step="release")
    found = {
        step: verify_evidence(raw, subject=release.digest, policy=policy, trust=trust, step=step)
        for number, raw in enumerate(release.evidence)
        if (step := f"release.evidence[{number}]")
    }
    signature = found["release.evidence[0]"]
    predicates = tuple(one.predicate_type for one in found.values())
    if predicates[0] != statements.PROVENANCE:
        raise Denied(
            Reason.EVIDENCE_PREDICATE,
            f"the first carries {predicates[0]}, not {statements.PROVENANCE}",
            step="release.evidence[0]",
            field="predicateType",
        )
    for required in policy.requirements:
        if required.type not in predicates:
            raise Denied(Reason.EVIDENCE_INCOMPLETE, f"no {required.type}", step="release", field=required.type)
        if required.condition is not None:  # that it holds is not known here
            detail = "a proof is verified without OPA, which conditions need; demand tests and sources instead"
            raise Denied(Reason.EVIDENCE_CONDITION, detail, step="release", field=required.type)
    _check_source(found, demands.sources)
    _check_tests(found, demands.tests_passed)
    built = [_predicate(one) for one in found.values() if one.predicate_type == statements.PROVENANCE]
    return ProvenRelease(
        digest=release.digest,
        signer=signature.signer,
        signed_at=signature.signed_at,
        commits=_each_once(commit for one in built for commit in commits(one)),
        files=_each_once(file for one in built for file in files(one)),
        tests=tuple(_test(one) for one in found.values() if one.predicate_type == statements.TEST_RESULT),
        predicates=predicates,
    )


def _check_source(found: Mapping[str, VerifiedStatement], wanted: Sequence[WantedSource]) -> None:
    """Deny unless every provenance names commits, all of them of the sources that are wanted."""
    for step, one in found.items():
        if not wanted or one.predicate_type != statements.PROVENANCE:
            continue
        named = commits(_predicate(one))
        if not named:
            raise Denied(Reason.EVIDENCE_INCOMPLETE, "the provenance names no commit", step=step, field="sources")
        for commit in named:
            if not any(source.covers(commit) for source in wanted):
                changed = ", with changes" if commit.changed else ""
                detail = f"built from {commit}{changed}, which is not one of the sources"
                raise Denied(Reason.EVIDENCE_CONDITION, detail, step=step, field="sources")


def _check_tests(found: Mapping[str, VerifiedStatement], wanted: bool) -> None:
    """Deny unless there are results of tests, all of which passed."""
    if not wanted:
        return
    results = {step: _test(one) for step, one in found.items() if one.predicate_type == statements.TEST_RESULT}
    if not results:
        raise Denied(Reason.EVIDENCE_INCOMPLETE, "no result of tests", step="release", field="tests_passed")
    for step, one in results.items():
        if not one.passed:
            detail = f"the tests did not pass: {one.result or 'no result'}"
            raise Denied(Reason.EVIDENCE_CONDITION, detail, step=step, field="tests_passed")


def commits(provenance: Mapping[str, Any]) -> tuple[Commit, ...]:
    """The commits that SLSA provenance names. Those who may sign it are believed what they say."""
    found = []
    for one, digests in _dependencies(provenance):
        if "gitCommit" in digests:
            noted = one.get("annotations")
            changed = isinstance(noted, dict) and noted.get("dirty", False) is not False
            found.append(Commit(_name(one, "uri", "name"), _text(digests["gitCommit"]), changed))
    return tuple(found)


def files(provenance: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The files that it names, with their digests."""
    return tuple(
        (_name(one, "name", "uri"), f"sha256:{digests['sha256']}")
        for one, digests in _dependencies(provenance)
        if digests.get("sha256") and "gitCommit" not in digests
    )


def _dependencies(provenance: Mapping[str, Any]) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    definition = provenance.get("buildDefinition")
    named = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
    for one in named if isinstance(named, list) else []:
        digests = one.get("digest") if isinstance(one, dict) else None
        if isinstance(digests, dict):
            yield one, digests


def _name(dependency: Mapping[str, Any], *members: str) -> str:
    """The first that is given. One that is no text names nothing: the next may not stand in for it."""
    return _text(next((one for one in map(dependency.get, members) if one not in (None, "")), ""))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _test(one: VerifiedStatement) -> TestResult:
    """What a statement says of tests. One that lists tests which failed does not say that they passed."""
    predicate = _predicate(one)
    result, covered = str(predicate.get("result", "")), predicate.get("coverage")
    percent = covered.get("percent") if isinstance(covered, dict) else covered
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    return TestResult(
        result=result,
        coverage=percent if number else None,
        passed=result == "PASSED" and predicate.get("failedTests") in (None, []),
        signer=one.signer,
    )


def _predicate(one: VerifiedStatement) -> dict[str, Any]:
    predicate: dict[str, Any] = one.statement["predicate"]
    return predicate


def _each_once(found: Iterable[_Any]) -> tuple[_Any, ...]:
    return tuple(dict.fromkeys(found))
