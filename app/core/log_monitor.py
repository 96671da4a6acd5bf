"""Follow a transparency log, and notice when it changes what it said, loses an entry, or holds one that nobody claims.

One look: the newest checkpoint must extend the last one that was saved, and those that witnesses saw; every new entry
and tile must be what it commits to; every entry that the control plane has evidence of must stand at its place; and
every entry that a sidecar of the domain signed must be claimed by the control plane, after some time of grace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.core.checkpoint import Checkpoint
from app.core.errors import Denied
from app.core.log_audit import contradictions, entries_of, require_begins, require_root
from app.core.log_entry import EntryReader
from app.core.log_expected import Expected
from app.core.log_findings import Finding, Report
from app.core.log_leftovers import Leftovers
from app.core.log_matching import Matching
from app.core.log_monitor_state import MonitorState
from app.core.log_source import LogSource, LogUnavailable
from app.core.log_tiles import LogTiles, newest
from app.core.log_witness import Witness
from app.core.trust import TrustConfig

#: Seconds for which an entry may be in the log before the control plane must show it: a sidecar that was cut off sends
#: what it signed when it is back.
DEFAULT_GRACE = 3600

#: Entries that are read before the next expected ones are asked for: so neither side waits in memory for the other.
STEP = 16_384

#: Seconds for which tiles may lie there before the log signs a checkpoint that has them.
SETTLED = 15.0


@dataclass(frozen=True)
class _Seen:
    """A checkpoint with which the log's newest one is compared."""

    #: To whom it was shown, as it stands in a sentence.
    shown: str
    checkpoint: Checkpoint
    #: The witness.
    by: str | None = None


@dataclass(frozen=True)
class Monitor:
    """Who looks at which log, and with whom it is compared."""

    source: LogSource
    trust: TrustConfig
    expected: Expected | None = None
    witnesses: Sequence[Witness] = ()
    #: How the SPIFFE IDs begin of which every entry must be claimed; None: as `expected` says.
    own: str | None = None
    grace: int = DEFAULT_GRACE
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    #: Is told how many entries were read, and of how many.
    progress: Callable[[int, int], None] = lambda done, total: None

    def look(self, state: MonitorState, *, full: bool = False) -> tuple[Report, MonitorState]:
        """Look once. Gives what was found, and the state to be saved if nothing was.

        `full` reads the log from its first entry again, and, where it can be listed, every tile that is there.
        Raises `LogUnavailable` when the log cannot be read, and `PlacetError` when the expected entries cannot.
        """
        report = Report(self.source.name, before=state.checkpoint)
        # Before the log's own: what others saw by now it must show from now on.
        seen = self._seen(report)
        matching = Matching(self.expected, EntryReader(self.trust), state, report, own=self.own, forget=full)
        left = Leftovers(self.source.tiles() if full else [])
        now = self._newest_with(left)
        known = [] if state.checkpoint is None else [_Seen("it showed before", state.checkpoint)]
        tiles = self._read(matching, report, known, now, 0 if full or not known else known[0].checkpoint.size)
        if matching.ahead:
            # What was stored while we looked is of a later checkpoint. It must be there now, or the log went back.
            known, now = [_Seen("it showed a moment ago", now)], self._newest()
            tiles = self._read(matching, report, known, now, known[0].checkpoint.size, last=True)
        for denied in left.check(self.source, tiles):
            report.denied(denied)
        report.witnessed += len(seen)
        self._compare(report, tiles, seen, now)
        report.now = now
        matching.finish(int(self.now().timestamp()), self.grace)
        return report, MonitorState(now, matching.cursor, matching.unclaimed, list(matching.claimed))

    def _newest(self) -> Checkpoint:
        return newest(self.source, self.trust, at=self.now())

    def _newest_with(self, left: Leftovers) -> Checkpoint:
        """The newest one, and, within some time, one that has all tiles that lay there before."""
        deadline = time.monotonic() + SETTLED
        while left.beyond(LogTiles(self.source, (now := self._newest()).size)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return now

    def _read(
        self, matching: Matching, report: Report, known: list[_Seen], now: Checkpoint, first: int, *, last: bool = False
    ) -> LogTiles:
        """Compare the entries from `first` with the tiles, and with what is expected."""
        tiles = LogTiles(self.source, now.size)
        try:
            require_root(tiles, now)
        except Denied as denied:
            report.denied(denied)
        self._compare(report, tiles, known, now)
        matching.begin(tiles, now, first, last=last)
        at, seen_at = first, int(self.now().timestamp())

        def damaged(denied: Denied, index: int) -> None:
            report.denied(denied, index=index)

        while at < now.size:
            matching.ask(STEP)
            end = min(now.size, at + STEP)
            for index, body, leaf in entries_of(tiles, at, end, damaged):
                matching.entry(index, body, leaf, seen_at)
            matching.passed(end)
            at = end
            self.progress(at - first, now.size - first)
        matching.ask(None)
        for contradiction in contradictions(tiles, first):
            report.denied(contradiction)
        return tiles

    def _compare(self, report: Report, tiles: LogTiles, known: list[_Seen], now: Checkpoint) -> None:
        for one in known:
            try:
                require_begins(tiles, one.checkpoint, now, one.shown)
            except Denied as denied:
                report.denied(denied, entry=one.by)

    def _seen(self, report: Report) -> list[_Seen]:
        """What the witnesses saw. One that does not answer is told, and does not keep us from looking."""
        found = []
        for one in self.witnesses:
            try:
                raw = one.read()
                if raw is not None:
                    found.append(_Seen(f"{one.name} saw", Checkpoint.read(raw, self.trust), one.name))
            except LogUnavailable as error:
                report.unavailable.append(error.detail)
            except Denied as denied:
                report.add(Finding(denied.reason, f"what {one.name} saw: {denied.detail}", entry=one.name))
        return found
