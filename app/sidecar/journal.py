"""The journal: what this sidecar says of its executions, releases, lease and trust state, numbered and chained.

A statement is first a draft, on disk before anybody is answered; then final: its bytes are known, name the statement
before, and never change; then it is signed and shipped (`app.sidecar.journal_shipping`). Drafts become final in their
order, each when the leaf hashes of the decisions that it names are known. So a crash at any place loses nothing, and
forks nothing.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

from app.core.errors import Denied
from app.core.link import Link
from app.core.link_names import END, ENFORCE, START, STEP, Ref, payload_digest
from app.core.reason_codes import Reason
from app.sidecar import journal_leaves
from app.sidecar.journal_draft import Draft, Position
from app.sidecar.journal_file import JournalFile, next_number, waiting_bytes

#: Statements that may wait for the control plane, and bytes of their drafts; how many more of the agent's own.
MAX_WAITING, MAX_WAITING_BYTES, OWN_ROOM = 50_000, 256 * 1024 * 1024, 5_000
#: Drafts that become final in one transaction.
_AT_ONCE = 200
#: Seconds that what was acknowledged is kept: of no execution, and of one after its end.
KEPT, EXECUTIONS_KEPT = 86_400, 7 * 86_400
_PRUNE_EVERY = 60.0

_LINKS = {START: f"link/{START}", STEP: f"link/{STEP}"}
#: The longest names of the statements that one of each kind may name when it becomes final.
_MAY_NAME = {STEP: (_LINKS[STEP],), END: (_LINKS[STEP],), START: (_LINKS[STEP], f"link/{ENFORCE}")}


class Leaf(NamedTuple):
    """A decision within an execution, as it stands in a batch."""

    decision: str
    execution: str
    hash: bytes


@dataclass(frozen=True)
class Final:
    """A statement that will not change any more."""

    number: int
    statement: bytes
    digest: str


class Journal:
    """The journal of one instance of a sidecar. Threads may share it."""

    def __init__(self, file: JournalFile, instance: str) -> None:
        self._file = file
        self.instance = instance
        #: Up to where the records are in batches, whose leaf hashes are known.
        self._cut: Position | None = None
        #: The number of the first one that is not final, and of the first one that was not acknowledged.
        self._first_draft = 0
        self._first_waiting = 0
        #: Bytes of the drafts of what was not acknowledged.
        self._bytes = 0
        self._pruned = 0.0

    def open(self) -> None:
        """Read what an earlier agent left. Raises `PlacetError` when it is damaged or does not fit together."""
        self._file.open()
        with self._file.transaction() as database:
            rows = database.execute(
                "SELECT number, statement, digest FROM statement WHERE acknowledged = 0 ORDER BY number"
            ).fetchall()
            following = next_number(database)
            self._bytes = waiting_bytes(database)
        self._first_waiting = rows[0][0] if rows else following
        finals = [row for row in rows if row[1] is not None]
        self._first_draft = self._first_waiting + len(finals)
        if [row[0] for row in rows] != list(range(self._first_waiting, following)) or rows[: len(finals)] != finals:
            raise self._file.damaged("its numbers do not follow each other")
        self._check(finals)

    def close(self) -> None:
        """Nobody uses it any more."""
        self._file.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """All of it is on disk when this ends, or nothing is. Raises `Denied` with `lineage.unavailable`."""
        return self._file.transaction()

    def add(self, database: sqlite3.Connection, draft: Draft, *, room: int = 0) -> int:
        """Keep a draft, within a transaction. Returns its number.

        Raises `Denied` with `link.malformed` for what could never be a statement, and with `lineage.unavailable`
        while too many wait; `room`: how many more may.
        """
        draft.check(self.instance, _MAY_NAME.get(draft.kind, ()))
        number, raw = next_number(database), draft.encode()
        full = number - self._first_waiting >= MAX_WAITING + room or (not room and self._bytes > MAX_WAITING_BYTES)
        if full:
            raise Denied(Reason.LINEAGE_UNAVAILABLE, "too much of the journal waits for the control plane")
        database.execute(
            "INSERT INTO statement (number, kind, execution, policy, draft, made_at) VALUES (?, ?, ?, ?, ?, ?)",
            (number, draft.kind, draft.execution, draft.policy, raw, draft.at),
        )
        self._bytes += len(raw)
        return number

    def note(self, draft: Draft) -> int:
        """Keep a draft of the agent's own, in a transaction of its own."""
        with self.transaction() as database:
            return self.add(database, draft, room=OWN_ROOM)

    def recorded(self, cut: Position, leaves: Sequence[Leaf]) -> None:
        """A batch was cut that ends there, with these decisions of executions among its entries."""
        if leaves:
            now = int(time.time())
            with self._file.transaction() as database:
                rows = [(one.decision, one.execution, one.hash, now) for one in leaves]
                database.executemany("INSERT OR IGNORE INTO leaf VALUES (?, ?, ?, ?)", rows)
        self._cut = max(cut, self._cut) if self._cut else cut

    def finalise(self) -> int:
        """Make final what can be. Returns how many did."""
        count = 0
        while made := self._finalise_some():
            count += made
        return count

    def waiting(self, limit: int) -> list[Final]:
        """The oldest final statements that were not acknowledged, in order."""
        with self._file.transaction() as database:
            rows = database.execute(
                "SELECT number, statement, digest FROM statement "
                "WHERE acknowledged = 0 AND statement IS NOT NULL ORDER BY number LIMIT ?",
                (limit,),
            ).fetchall()
        return [Final(*row) for row in rows]

    def acknowledge(self, number: int) -> None:
        """The control plane holds the oldest that waited."""
        with self._file.transaction() as database:
            size = "UPDATE statement SET acknowledged = 1 WHERE number = ? RETURNING length(draft)"
            self._bytes -= database.execute(size, (number,)).fetchone()[0]
        self._first_waiting = number + 1

    def counts(self) -> dict[str, int]:
        """How many drafts there are, and how many statements that wait to be shipped."""
        with self._file.transaction() as database:
            following = next_number(database)
        return {"drafts": following - self._first_draft, "waiting": self._first_draft - self._first_waiting}

    def last(self, kind: str) -> Draft | None:
        """The newest draft of a kind, final or not."""
        with self._file.transaction() as database:
            row = database.execute(
                "SELECT draft FROM statement WHERE kind = ? ORDER BY number DESC LIMIT 1", (kind,)
            ).fetchone()
        return self._decoded(row[0]) if row else None

    def leaf(self, database: sqlite3.Connection, decision: str) -> Leaf | None:
        """The leaf of a decision, if it was cut lately."""
        row = database.execute("SELECT decision, execution, hash FROM leaf WHERE decision = ?", (decision,)).fetchone()
        return Leaf(*row) if row else None

    def drafts(self, database: sqlite3.Connection, execution: str, kind: str) -> list[Draft]:
        """What was noted of an execution, of one kind, in order."""
        rows = database.execute(
            "SELECT draft FROM statement WHERE execution = ? AND kind = ? ORDER BY number", (execution, kind)
        )
        return [self._decoded(row[0]) for row in rows.fetchall()]

    def starts(self, database: sqlite3.Connection, execution: str) -> int:
        """How often an execution was started."""
        query = "SELECT count(*) FROM statement WHERE execution = ? AND kind = ?"
        return int(database.execute(query, (execution, START)).fetchone()[0])

    def size(self, database: sqlite3.Connection, execution: str) -> int:
        """The bytes of what was noted of an execution."""
        query = "SELECT coalesce(sum(length(draft)), 0) FROM statement WHERE execution = ?"
        return int(database.execute(query, (execution,)).fetchone()[0])

    def found(self, database: sqlite3.Connection, execution: str, number: int) -> tuple[Draft, str | None] | None:
        """A statement of an execution, and its digest once it is final."""
        row = database.execute(
            "SELECT draft, digest FROM statement WHERE number = ? AND execution = ?", (number, execution)
        ).fetchone()
        return (self._decoded(row[0]), row[1]) if row else None

    def prune(self) -> None:
        """Forget what nobody asks for any more; once a minute."""
        if time.monotonic() - self._pruned < _PRUNE_EVERY:
            return
        now = int(time.time())
        with self._file.transaction() as database:
            journal_leaves.prune(database, now)
            # An id is one execution's for ever, so of it remains that it is over.
            over = now - EXECUTIONS_KEPT
            database.execute(
                "UPDATE execution SET issuer = '', subject = '', workflow = NULL, last_kind = NULL, "
                "last_digest = NULL, outcome = coalesce(outcome, 'expired'), ended_at = coalesce(ended_at, until) "
                "WHERE coalesce(ended_at, until) < ? AND subject <> '' AND NOT EXISTS "  # those name the one before
                "(SELECT 1 FROM statement WHERE statement.execution = execution.id AND acknowledged = 0)",
                (over,),
            )
            database.execute(
                "DELETE FROM statement WHERE acknowledged = 1 AND made_at < ? AND number < ? AND kind <> ? "
                "AND (execution IS NULL OR execution IN (SELECT id FROM execution WHERE subject = ''))",
                (now - KEPT, self._first_waiting - 1, ENFORCE),
            )
            database.execute("DELETE FROM step_key WHERE execution IN (SELECT id FROM execution WHERE subject = '')")
            self._bytes = waiting_bytes(database)  # what was rolled back was counted too
        self._pruned = time.monotonic()

    def _finalise_some(self) -> int:
        made = 0
        with self._file.transaction() as database:
            rows = database.execute(
                "SELECT number, draft FROM statement WHERE number >= ? ORDER BY number LIMIT ?",
                (self._first_draft, _AT_ONCE),
            ).fetchall()
            for number, raw in rows:
                draft = self._decoded(raw)
                leaves = self._leaves(database, draft)
                if leaves is None:
                    break
                self._make_final(database, number, draft, leaves)
                made += 1
        self._first_draft += made
        return made

    def _make_final(self, database: sqlite3.Connection, number: int, draft: Draft, leaves: dict[str, bytes]) -> None:
        before = database.execute("SELECT digest FROM statement WHERE number = ?", (number - 1,)).fetchone()
        if number and (before is None or before[0] is None):
            raise self._file.damaged(f"statement {number - 1} is missing")
        place = draft.place(self.instance, number, before[0] if before else None)
        statement = draft.statement(place, leaves, self._links(database, number, draft))
        digest = payload_digest(statement)
        database.execute("UPDATE statement SET statement = ?, digest = ? WHERE number = ?", (statement, digest, number))
        if draft.execution is not None:
            database.execute(
                "UPDATE execution SET last_kind = ?, last_digest = ? WHERE id = ?",
                (draft.kind, digest, draft.execution),
            )

    def _leaves(self, database: sqlite3.Connection, draft: Draft) -> dict[str, bytes] | None:
        """The leaf hashes that are there; None while one may still come."""
        found = {}
        for decision in draft.decisions:
            leaf = self.leaf(database, decision)
            if leaf is not None and leaf.execution == draft.execution:
                found[decision] = leaf.hash
            elif leaf is None and draft.seen is not None and (self._cut is None or self._cut < draft.seen):
                return None
        return found

    def _links(self, database: sqlite3.Connection, number: int, draft: Draft) -> tuple[Ref, ...]:
        links = []
        if draft.execution is not None:
            last = database.execute(
                "SELECT last_kind, last_digest FROM execution WHERE id = ?", (draft.execution,)
            ).fetchone()
            if last and last[0] in _LINKS:
                links.append(Ref(_LINKS[last[0]], last[1]))
        if draft.kind == START:
            enforced = database.execute(
                "SELECT digest FROM statement WHERE kind = ? AND policy = ? AND number < ? "
                "ORDER BY number DESC LIMIT 1",
                (ENFORCE, draft.policy, number),
            ).fetchone()
            links += [Ref(f"link/{ENFORCE}", enforced[0])] if enforced else []
        return tuple(links)

    def _check(self, finals: list[tuple[int, bytes, str]]) -> None:
        """Nobody may have changed what is final: it may be signed already."""
        try:
            links = [Link.read(statement) for _, statement, _ in finals]
        except Denied as denied:
            raise self._file.damaged(denied.detail) from denied
        for (number, statement, digest), link in zip(finals, links, strict=True):
            if (payload_digest(statement), number, self.instance) != (digest, link.number, link.instance):
                raise self._file.damaged(f"statement {number} is not what it was")
        for before, after in itertools.pairwise(zip(finals, links, strict=True)):
            if after[1].previous != before[0][2]:
                raise self._file.damaged(f"statement {after[0][0]} does not follow the one before it")

    def _decoded(self, raw: bytes) -> Draft:
        try:
            return Draft.decode(raw)
        except (ValueError, TypeError, KeyError) as error:
            raise self._file.damaged(f"a draft cannot be read: {error}") from error
