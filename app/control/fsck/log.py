"""The lineage log beside what is stored: each of its tiles and entries, and all that there is evidence of in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from app.control.evidence_place import place_in
from app.control.fsck.finding import Finding, Kind
from app.control.fsck.tables import Tables
from app.control.objects import Objects
from app.control.store.as_stored import Row
from app.core.errors import Denied
from app.core.log_expected import ExpectedEntry, ExpectedPage
from app.core.log_monitor import Monitor
from app.core.log_monitor_state import MonitorState
from app.core.log_source import opened
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig

_PAGE = 200
_KINDS: dict[Reason, Kind] = {Reason.LOG_MISSING: "missing", Reason.LOG_INCONSISTENT: "fork"}


@dataclass(frozen=True)
class Log:
    """Where the log's tiles are read, and who is trusted to have signed its checkpoint."""

    where: str
    trust_config: Path

    def check(
        self, tables: Tables, objects: Objects, progress: Callable[[int, int], None]
    ) -> Iterator[tuple[int, Finding | None]]:
        """Read all of it: how many entries it has, with each finding. Raises `LogUnavailable` when it cannot be read.

        What it holds and nobody claims is for a monitor to tell: that may be on its way to us.
        """
        with opened(self.where) as source:
            held = _Held(tables, objects)
            monitor = Monitor(source, TrustConfig.from_file(self.trust_config), held, progress=progress)
            try:
                report, _ = monitor.look(MonitorState(), full=True)
            except Denied as denied:  # its checkpoint is nobody's
                yield 0, Finding("changed", denied.detail, object=f"{source.name}/checkpoint")
                return
            yield report.scanned, None
            for one in report.findings:
                place = source.name if one.index is None else f"{source.name} entry {one.index}"
                detail = f"{one.detail} ({one.entry})" if one.entry else one.detail
                yield report.scanned, Finding(_KINDS.get(one.reason, "changed"), detail, object=place)


class _Held:
    """Every entry that there is evidence of, as `app.core.log_expected.Expected`."""

    def __init__(self, tables: Tables, objects: Objects) -> None:
        self._entries = _entries(tables, objects)
        self._next = 0

    def page(self, after: str | None) -> ExpectedPage:
        """The next page; each is given once."""
        del after
        found = list(islice(self._entries, _PAGE))
        self._next += 1
        more = len(found) == _PAGE
        return ExpectedPage(identities="", entries=found, next=str(self._next), more=more)


def _entries(tables: Tables, objects: Objects) -> Iterator[ExpectedEntry]:
    for row in tables.batches("log_index IS NOT NULL"):
        yield from _entry("batch", row, row["evidence"], objects)
    for row in tables.links():
        yield from _entry("link", row, row["object"], objects)


def _entry(table: str, row: Row, key: Any, objects: Objects) -> Iterator[ExpectedEntry]:
    """By the evidence itself: a number that was changed in the row is found there."""
    place = place_in(objects, key) if isinstance(key, str) else None
    if place is not None:
        yield ExpectedEntry(
            name=f"{table} {row['id']}", index=str(place.index), leaf=place.leaf.hex(), checkpoint=place.checkpoint
        )
