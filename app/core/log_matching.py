"""Match the entries of a log with those that a control plane has evidence of, both ways, as both are read."""

from __future__ import annotations

from app.core.checkpoint import Checkpoint
from app.core.errors import Denied
from app.core.log_audit import require_begins
from app.core.log_entry import EntryReader
from app.core.log_expected import Expected, ExpectedEntry, Onwards
from app.core.log_findings import Finding, Report
from app.core.log_monitor_state import MAX_UNCLAIMED, MonitorState, Unclaimed
from app.core.log_tiles import LogTiles
from app.core.reason_codes import Reason

#: Of how many entries that were claimed it is remembered what they signed; and of how many checkpoints that they hold.
_MAX_REMEMBERED = 65_536


class Matching:
    """One look's comparison. `begin` comes first, and again with a later checkpoint of the same log."""

    def __init__(
        self,
        expected: Expected | None,
        reader: EntryReader,
        state: MonitorState,
        report: Report,
        *,
        own: str | None,
        forget: bool,
    ) -> None:
        """`own`: how the identities begin whose entries are ours; None: as whoever tells what is expected says.

        `forget`: everything is read anew, so nothing that was claimed before counts.
        """
        self._expected = expected
        self._reader = reader
        self._report = report
        self._before = dict(state.unclaimed)
        self.cursor = None if forget else state.cursor
        self.unclaimed: dict[int, Unclaimed] = {} if forget else dict(state.unclaimed)
        #: As a set that keeps its order.
        self.claimed: dict[str, None] = {} if forget else dict.fromkeys(state.claimed)
        #: Expected entries that the log cannot have yet by the checkpoint that we have.
        self.ahead: list[ExpectedEntry] = []
        self._waiting: dict[int, ExpectedEntry] = {}
        self._known: set[tuple[int, bytes]] = set()
        self._more, self._onwards = expected is not None, Onwards()
        self._pinned = self._own = own
        self._last = False

    def begin(self, tiles: LogTiles, now: Checkpoint, first: int, *, last: bool) -> None:
        """From now on entries of this tree are read, from `first`. `last`: what it does not have is missing."""
        self._tiles, self._now, self._position, self._last = tiles, now, first, last
        ahead, self.ahead = self.ahead, []
        if not last:
            self.ask(1)
        for one in ahead:
            self._claim(one)

    def ask(self, count: int | None) -> None:
        """Ask for the next expected entries, at least `count` where there are as many; None: for all that are left.

        Raises `LogUnavailable` for pages that lead nowhere.
        """
        got = 0
        while self._expected is not None and self._more and (count is None or got < count):
            page = self._expected.page(self.cursor)
            self._onwards.require(self.cursor, page.next, len(page.entries), more=page.more)
            self._own = self._pinned or page.identities or None
            self.cursor, self._more = page.next, page.more
            got += len(page.entries)
            self._report.expected += len(page.entries)
            for one in page.entries:
                self._claim(one)

    def entry(self, index: int, body: bytes, leaf: bytes, seen_at: int) -> None:
        """An entry of the log."""
        self._report.scanned += 1
        found = self._reader.read(body) if self._own is not None else None
        own = found is not None and self._own is not None and found.identity.startswith(self._own)
        self._report.own += own
        claim = self._waiting.pop(index, None)
        if claim is not None and claim.leaf != leaf.hex():
            self._missing(claim, f"at {index} the log holds another entry")
        elif claim is not None and found is not None:
            self._remember(found.digest)
        elif claim is None and own and found is not None and self._expected and found.digest not in self.claimed:
            before = self._before.get(index)
            self.unclaimed[index] = Unclaimed(found.digest, found.identity, before.seen_at if before else seen_at)

    def passed(self, position: int) -> None:
        """All entries before `position` were read: what waited for one of them did not find it."""
        self._position = position
        for index in [index for index in self._waiting if index < position]:
            self._missing(self._waiting.pop(index), f"the log's entry {index} cannot be read")

    def finish(self, now: int, grace: int) -> None:
        """Everything was read: tell what is not claimed after `grace` seconds."""
        # The same statement under another signature: a sidecar signs again when it was killed while it signed.
        self.unclaimed = {at: one for at, one in self.unclaimed.items() if one.digest not in self.claimed}
        self._report.unclaimed = len(self.unclaimed)
        if len(self.unclaimed) > MAX_UNCLAIMED:
            detail = f"{len(self.unclaimed)} entries are not claimed, more than can be remembered"
            self._report.add(Finding(Reason.LOG_UNEXPECTED, detail))
        for index, one in sorted(self.unclaimed.items()):
            if now - one.seen_at >= grace:
                detail = f"{one.identity} signed it, and the control plane does not hold it"
                self._report.add(Finding(Reason.LOG_UNEXPECTED, detail, index, one.identity))

    def _claim(self, one: ExpectedEntry) -> None:
        index = int(one.index)
        if one.leaf is None or one.checkpoint is None:
            self._missing(one, "the control plane cannot read its own evidence of it; run placet server fsck there")
            return
        try:
            seen = Checkpoint.read(one.checkpoint, self._reader.trust)
        except Denied as denied:
            self._report.denied(denied, index=index, entry=one.name)
            seen = self._now
        if seen.origin != self._now.origin and seen.key_id != self._now.key_id:
            # Of another log that is trusted, such as the one that this one took over from: its monitor looks there.
            self._report.elsewhere += 1
            return
        if max(index + 1, seen.size) > self._now.size and not self._last:
            self.ahead.append(one)
            return
        self._compare(seen, one)
        if index >= self._now.size:
            self._missing(one, f"the log has {self._now.size} entries, and none at {index}")
        elif index >= self._position and index not in self._waiting:
            self._waiting[index] = one
        else:
            self._look_up(one, index, bytes.fromhex(one.leaf))

    def _look_up(self, one: ExpectedEntry, index: int, leaf: bytes) -> None:
        """An expected entry at a place that was read already."""
        try:
            self._tiles.require_leaf(index, leaf, self._now)
        except Denied as denied:
            self._report.denied(denied, index=index, entry=one.name)
            return
        if (found := self.unclaimed.pop(index, None)) is not None:
            self._remember(found.digest)

    def _compare(self, seen: Checkpoint, one: ExpectedEntry) -> None:
        """What whoever signed it saw then is a witness, too."""
        if (seen.size, seen.root) in self._known:
            return
        self._report.witnessed += 1
        try:
            require_begins(self._tiles, seen, self._now, f"its signer saw with {one.name}")
        except Denied as denied:
            self._report.denied(denied, entry=one.name)
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known.add((seen.size, seen.root))

    def _missing(self, one: ExpectedEntry, detail: str) -> None:
        self._report.add(Finding(Reason.LOG_MISSING, detail, int(one.index), one.name))

    def _remember(self, digest: str) -> None:
        self.claimed.pop(digest, None)
        self.claimed[digest] = None
        while len(self.claimed) > _MAX_REMEMBERED:
            del self.claimed[next(iter(self.claimed))]
