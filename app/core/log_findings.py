"""What a monitor of a log finds, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.core.checkpoint import Checkpoint
from app.core.errors import Denied
from app.core.reason_codes import Reason

#: More findings than this are counted, not kept: a log that was exchanged has one for each entry.
MAX_FINDINGS = 1000


@dataclass(frozen=True)
class Finding:
    """One thing that must not be."""

    reason: Reason
    detail: str
    #: The place in the log, where it is about one.
    index: int | None = None
    #: What claims it: the name of an expected entry, or who signed.
    entry: str | None = None
    #: Of an inconsistency: both checkpoints.
    checkpoints: tuple[Checkpoint, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The finding as commands print it."""
        return {
            "reason": str(self.reason),
            "detail": self.detail,
            "index": None if self.index is None else str(self.index),
            "entry": self.entry,
            "checkpoints": [one.as_dict() for one in self.checkpoints],
        }


@dataclass
class Report:
    """One look at a log."""

    log: str
    #: The checkpoint of the last look, and this one's; None where there was none.
    before: Checkpoint | None = None
    now: Checkpoint | None = None
    #: Entries that were read, and those of them by identities that the control plane answers for.
    scanned: int = 0
    own: int = 0
    #: Expected entries, those of them that stand in another trusted log, and checkpoints of others, those of expected
    #: entries included.
    expected: int = 0
    elsewhere: int = 0
    witnessed: int = 0
    #: Entries of our own that nobody claims yet.
    unclaimed: int = 0
    findings: list[Finding] = field(default_factory=list)
    #: Findings beyond `MAX_FINDINGS`.
    further: int = 0
    #: Witnesses that did not answer, each with what went wrong.
    unavailable: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Keep a finding, or count it."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.further += 1

    def denied(self, denied: Denied, *, index: int | None = None, entry: str | None = None) -> None:
        """Keep a denial as a finding."""
        checkpoints = getattr(denied, "checkpoints", ())
        self.add(Finding(denied.reason, denied.detail, index, entry, checkpoints))

    def as_dict(self) -> dict[str, Any]:
        """The report as commands print it; counts are decimal strings."""
        return {
            "log": self.log,
            "before": self.before.as_dict() if self.before else None,
            "now": self.now.as_dict() if self.now else None,
            "scanned": str(self.scanned),
            "own": str(self.own),
            "expected": str(self.expected),
            "elsewhere": str(self.elsewhere),
            "witnessed": str(self.witnessed),
            "unclaimed": str(self.unclaimed),
            "findings": [one.as_dict() for one in self.findings],
            "further": str(self.further),
            "unavailable": self.unavailable,
        }
