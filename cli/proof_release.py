"""What `placet proof` prints of the policy that decided: who signed it, its source, its tests; and of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.core.proof import LogEntry
    from app.core.proof_release import ProvenRelease, TestResult


def document(release: ProvenRelease) -> dict[str, Any]:
    """As JSON. `proved` says of source and tests whether what is told of them is a proof."""
    return {
        "digest": release.digest,
        "signer": release.signer.model_dump(),
        "signed_at": release.signed_at.isoformat(),
        "sources": [{"uri": one.place, "commit": one.hash, "changed": one.changed} for one in release.commits],
        "files": [{"name": name, "digest": digest} for name, digest in release.files],
        "tests": [
            {"result": one.result, "coverage": one.coverage, "signer": one.signer.model_dump()} for one in release.tests
        ],
        "predicates": list(release.predicates),
        "proved": {"source": release.source_known, "tests_passed": release.tests_passed},
    }


def source(release: ProvenRelease) -> str:
    """From what it was built, for people; empty where nothing says so."""
    count = len(release.files)
    files = f"{count} file{'s' if count > 1 else ''} by digest" if count else ""
    commits = [f"{one}{' with changes' if one.changed else ''}" for one in release.commits]
    shown = ", ".join(filter(None, [*commits, files]))
    return shown if release.source_known or not shown else f"no commit is proved: {shown}"


def tests(release: ProvenRelease) -> str:
    """How its tests ended, for people; empty where nothing says so."""
    shown = ", ".join(map(_test, release.tests))
    return shown if release.tests_passed or not shown else f"not proved to have passed: {shown}"


def log(entry: LogEntry) -> dict[str, Any]:
    """Where a statement stands, as JSON."""
    return {"origin": entry.origin, "index": entry.index, "size": entry.size}


def _test(one: TestResult) -> str:
    covered = "" if one.coverage is None else f", {one.coverage:g} % covered"
    return f"{one.result or 'no result'}{covered} (says {one.signer.identity})"
