"""Proofs of releases that say all kinds of things of their source and tests, and what must be proved of them.

`demanded(stand)` gives, by name, a proof file, what is demanded, and why that is refused; None where it holds. Whatever
is demanded, each file verifies when nothing is. All statements are signed by who may sign releases: only what they
say differs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from app.core import statements
from app.core.proof_form import Proof, ReleaseEvidence
from app.core.reason_codes import Reason

from .proof_kit import good_proofs
from .proof_parts import COMMIT, POLICY
from .proof_stand import RELEASER, Stand

REPOSITORY = "git+https://git.example.org/policies"
OTHER = "git+https://git.example.org/library"
OTHER_COMMIT = "5e" * 20


def built_from(*commits: dict[str, Any]) -> bytes:
    """Provenance that names these, and a file."""
    named = [*commits, statements.resource("payments/authz.rego", f"sha256:{'a' * 64}")]
    times = {"started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z"}
    about = statements.resource("payments.tar.gz", POLICY)
    return statements.provenance(about, sources=named, manifest={"roots": ["payments"]}, **times)


def commit(uri: Any = f"{REPOSITORY}@{COMMIT}", digest: Any = COMMIT, **annotations: Any) -> dict[str, Any]:
    noted = {"annotations": annotations} if annotations else {}
    return {"uri": uri, "digest": {"gitCommit": digest}, **noted}


def tested(**said: Any) -> bytes:
    return statements.statement([statements.resource("payments.tar.gz", POLICY)], statements.TEST_RESULT, said)


STATEMENTS = {
    # Provenance: it stands first.
    "built": built_from(commit()),
    "built by tag": built_from(commit(f"{REPOSITORY}@refs/tags/v1")),
    "built clean": built_from(commit(dirty=False)),
    "built with changes": built_from(commit(dirty=True)),
    "built with changes or not": built_from(commit(dirty=None)),
    "built of nothing": built_from(),
    "built of a name": built_from({"name": "git", "digest": {"gitCommit": COMMIT}}),
    "built under a name": built_from({"name": f"{REPOSITORY}@{COMMIT}", "digest": {"gitCommit": COMMIT}}),
    "built under a name beside nothing": built_from(commit("") | {"name": f"{REPOSITORY}@{COMMIT}"}),
    # What is no text, with a good name beside it.
    **{
        f"built of {json.dumps(odd)}": built_from(commit(odd) | {"name": f"{REPOSITORY}@{COMMIT}"})
        for odd in (7, 0, True, False, [], [f"{REPOSITORY}@{COMMIT}"], {}, {"uri": REPOSITORY})
    },
    "built of a hash in a list": built_from(commit(digest=[COMMIT])),
    "built of a hash that is null": built_from(commit(digest=None)),
    "built of no hash": built_from(commit(REPOSITORY, "main")),
    "built of a longer name": built_from(commit(f"{REPOSITORY}.evil@{COMMIT}")),
    "built of two": built_from(commit(), commit(f"{OTHER}@{OTHER_COMMIT}", OTHER_COMMIT)),
    "built elsewhere": built_from(commit(f"{OTHER}@{COMMIT}")),
    # Results of tests.
    "passed": tested(result="PASSED", failedTests=[], coverage={"percent": 97.5, "missing": []}),
    "passed alone": tested(result="PASSED"),
    "warned": tested(result="WARNED", warnedTests=["test_refund"], failedTests=[]),
    "failed": tested(result="FAILED", failedTests=["test_refund"]),
    "passed and failed": tested(result="PASSED", failedTests=["test_refund"]),
    "passed and odd": tested(result="PASSED", failedTests="none"),
    "small": tested(result="passed"),
    "listed": tested(result=["PASSED"]),
    "silent": tested(passedTests=["test_refund"]),
}


@dataclass(frozen=True)
class Wanted:
    """What is demanded: `app.core.proof_policy.ProofPolicy` has it so, and both verifiers as options."""

    tests_passed: bool = False
    sources: tuple[str, ...] = ()


TESTS = Wanted(tests_passed=True)
SOURCE = Wanted(sources=(REPOSITORY,))
PINNED = Wanted(sources=(f"{REPOSITORY}@{COMMIT}",))
BOTH = Wanted(sources=(REPOSITORY, OTHER))
MISSING, OTHERWISE = Reason.EVIDENCE_INCOMPLETE, Reason.EVIDENCE_CONDITION

#: By the evidence of the release: what is demanded, the reason why that is refused, and the step.
CASES: list[tuple[str, Wanted, Reason | None, str | None]] = [
    ("built, passed", replace(TESTS, sources=PINNED.sources), None, None),
    ("built, passed alone, passed", TESTS, None, None),
    ("built", TESTS, MISSING, "release"),
    *((f"built, {one}", TESTS, OTHERWISE, "release.evidence[1]") for one in (
        "warned", "failed", "passed and failed", "passed and odd", "small", "listed", "silent", "failed, passed")),
    ("built, passed, failed", TESTS, OTHERWISE, "release.evidence[2]"),
    *((one, wanted, None, None) for one in (
        "built", "built by tag", "built clean", "built under a name", "built under a name beside nothing")
      for wanted in (SOURCE, PINNED)),
    ("built of two", BOTH, None, None),
    *((one, SOURCE, OTHERWISE, "release.evidence[0]") for one in (
        "built with changes", "built with changes or not", "built of a name", "built of no hash",
        "built of a longer name", "built of two", "built elsewhere")),
    *((one, SOURCE, OTHERWISE, "release.evidence[0]") for one in STATEMENTS if one.startswith((
        "built of [", "built of {", "built of 7", "built of 0", "built of true", "built of false", "built of a hash"))),
    ("built of nothing", SOURCE, MISSING, "release.evidence[0]"),
    ("built, built elsewhere", SOURCE, OTHERWISE, "release.evidence[1]"),
    ("built", Wanted(sources=(f"{REPOSITORY}@{OTHER_COMMIT}",)), OTHERWISE, "release.evidence[0]"),
    ("built", Wanted(sources=(REPOSITORY[:-1],)), OTHERWISE, "release.evidence[0]"),
    ("built", Wanted(sources=(REPOSITORY.replace("https", "ssh"),)), OTHERWISE, "release.evidence[0]"),
]  # fmt: skip


@dataclass(frozen=True)
class Demanded:
    """A proof file, what is demanded of it, and what our verifier says: no reason where it holds."""

    raw: bytes
    wanted: Wanted
    reason: Reason | None
    step: str | None


@cache
def demanded(stand: Stand) -> dict[str, Demanded]:
    """Each case by a name of its own."""
    signed = stand.sign({name: (RELEASER, statement) for name, statement in STATEMENTS.items()})
    good = good_proofs(stand)
    found = {}
    for number, (names, *said) in enumerate(CASES):
        pieces = tuple(signed[name] for name in names.split(", "))
        proof = replace(Proof.read(good["allow"]), release=ReleaseEvidence(POLICY, pieces))
        found[f"{number}: {names}"] = Demanded(proof.write(), *said)
    found["erased, tests"] = Demanded(good["erased"], TESTS, MISSING, "release")
    found["erased, source"] = Demanded(good["erased"], SOURCE, MISSING, "release")
    # What names no policy was decided by none.
    found |= {name: Demanded(good[name], replace(TESTS, sources=SOURCE.sources), None, None)
              for name in ("message", "no-policy")}  # fmt: skip
    return found
