"""What the journal holds of executions: that they started, their steps, and how they ended.

An execution that has ended is over for good: its id is refused, and decisions inside it deny, by the trust state,
until the last token that may still be about has expired.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from app.core.errors import Denied
from app.core.link_form import MAX_STEPS
from app.core.link_names import END, STEP, Ref
from app.core.reason_codes import Reason
from app.sidecar import journal_leaves
from app.sidecar.answers import Start
from app.sidecar.ended_executions import NAMED, EndedExecutions, Owner
from app.sidecar.execution_notes import Asked, Done, Key, Noted, NotOfIt, Workflows
from app.sidecar.execution_rows import Row, require_running, require_same, row_of
from app.sidecar.journal import OWN_ROOM, Journal
from app.sidecar.journal_draft import Draft, Position
from app.sidecar.running import Stopped

#: Bytes of what one execution's steps name, as they are kept.
MAX_BYTES = 8 * 1024 * 1024
#: Ends that are noted in one transaction.
_AT_ONCE = 200
_MOST = f"at most {MAX_STEPS} steps besides its start, or repeated starts in their place, of {MAX_BYTES} bytes"


class ExecutionJournal:
    """The executions of one sidecar. Threads may share it."""

    def __init__(
        self,
        journal: Journal,
        seen: Callable[[], Position | None],
        ended: EndedExecutions,
        deny: Callable[[], None],
        workflows: Workflows | None = None,
        state: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`seen`: where the records end now. `ended`: of the trust state. `state`: the digest of the one of now.

        `deny`: an execution was stopped, so that it must be denied now.
        """
        self._journal = journal
        self._seen = seen
        self._deny = deny
        self._workflows = workflows
        self._state = state
        self._ended = ended
        #: Who was stopped and is not noted yet.
        self._left: deque[Stopped] = deque()
        self._writing = threading.Lock()

    def open(self) -> None:
        """Read which executions ended lately."""
        with self._journal.transaction() as database:
            rows = database.execute(
                "SELECT id, outcome, issuer, subject, ended_at FROM execution WHERE ended_at > ?",
                (int(time.time()) - NAMED,),
            ).fetchall()
        for execution, outcome, issuer, subject, ended_at in rows:
            self._ended.add(execution, outcome, (issuer, subject), ended_at + NAMED)

    def require_open(self, execution: str) -> None:
        """Raise `Denied` with `execution.ended` for an execution that is over."""
        self._require_not_ended(execution)
        with self._journal.transaction() as database:
            row = row_of(database, execution)
        if row is not None:
            require_running(row.outcome)

    def begin(self, execution: str, body: Mapping[str, Any], claims: Mapping[str, Any]) -> str | None:
        """The workflow of an execution that may start; nothing is kept. Raises `Denied`."""
        workflow = self._workflows.begin(body) if self._workflows else None
        if workflow is None and body.get("workflow") is not None:
            raise Denied(Reason.WORKFLOW_REQUIRED, "no such workflow is declared")
        with self._journal.transaction() as database:
            self._require_startable(database, execution, claims, workflow)
        return workflow

    def start(self, asked: Asked, start: Start, workflow: str | None, sidecar: str) -> None:
        """Note that an execution starts, or starts again, by what OPA allowed. Raises `Denied`."""
        claims = start.claims
        draft = asked.draft(start, workflow, sidecar, self._seen())
        try:
            with self._journal.transaction() as database:
                self._require_startable(database, asked.execution, claims, workflow)
                journal_leaves.starts_again(database, asked.execution, int(time.time()))
                database.execute(
                    "INSERT INTO execution (id, issuer, subject, workflow, until) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET until = max(until, excluded.until)",
                    (asked.execution, claims["sub_iss"], claims["sub"], workflow, start.until),
                )
                self._journal.add(database, draft)
        except Denied as denied:
            if denied.reason == Reason.LINK_MALFORMED:  # such as an action of thousands of letters
                raise Denied(Reason.REQUEST_MALFORMED, denied.detail) from denied
            raise

    def step(
        self,
        execution: str,
        sidecar: str,
        step: Done,
        command: Sequence[str],
        more: Mapping[str, Any],
        key: Key | None = None,
    ) -> Noted:
        """Note a step, or tell what was noted under its key. `more`: `decisions`, `parents` (of the request), `facts`.

        Raises `NotOfIt`, and `Denied`: with `workflow.…`, which stops the execution.
        """
        seen, row = self._seen(), None
        try:
            with self._journal.transaction() as database:
                row = self._open(database, execution)
                if key is not None and (noted := self._noted_before(database, execution, key)):
                    return noted
                if self._is_full(database, execution, row):
                    raise Denied(Reason.LINK_MALFORMED, f"an execution has {_MOST}")
                for decision in more["decisions"]:
                    leaf = self._journal.leaf(database, decision)
                    if leaf is not None and leaf.execution != execution:
                        raise NotOfIt(f"the decision {decision} is of another execution")
                    if leaf is None and journal_leaves.forgot(database, execution):
                        raise NotOfIt(f"whether the decision {decision} was recorded is not known here (any more)")
                if self._workflows and row.workflow is not None:
                    self._workflows.step(row.workflow, self._done(database, execution), step)
                steps = row.steps + 1
                draft = Draft(
                    kind=STEP,
                    sidecar=sidecar,
                    at=int(time.time()),
                    byproducts={
                        "execution": execution, "step": step.name, "steps": str(steps), "facts": dict(more["facts"]),
                    },
                    materials=(*step.materials, *more["parents"]),
                    products=step.products,
                    command=tuple(command),
                    decisions=tuple(more["decisions"]),
                    seen=seen,
                )  # fmt: skip
                number = self._journal.add(database, draft)
                database.execute("UPDATE execution SET steps = ? WHERE id = ?", (steps, execution))
                if key is not None:
                    database.execute("INSERT INTO step_key VALUES (?, ?, ?, ?)", (execution, *key, number))
        except Denied as denied:
            self._stop_for(execution, sidecar, denied, row)
            raise
        return Noted(number, steps, step.name)

    def end(self, execution: str, sidecar: str, outcome: str) -> None:
        """Note the end by an execution's own word. Raises `Denied`: with `workflow.…`, which stops it instead."""
        row = None
        try:
            with self._journal.transaction() as database:
                row = self._open(database, execution)
                if outcome == "completed" and self._workflows and row.workflow is not None:
                    self._workflows.end(row.workflow, self._done(database, execution))
                self._ended.require_room(row.owner)
                self._end(database, execution, sidecar, row.steps, outcome)
        except Denied as denied:
            self._stop_for(execution, sidecar, denied, row)
            raise
        self._ended.add(execution, outcome, row.owner)

    def stop(self, execution: str, sidecar: str, reason: Reason, owner: Owner) -> None:
        """Have an execution denied from now on, and note why; later, while the journal cannot be written."""
        self._ended.add(execution, "stopped", owner)
        self._deny()
        self.stopped([Stopped(execution, sidecar, reason, owner, self._state())])
        with contextlib.suppress(Denied):
            self.write_left()

    def stopped(self, stopped: Iterable[Stopped]) -> None:
        """Note these with the next ones: they are denied already."""
        self._left.extend(stopped)

    def left(self) -> set[str]:
        """Executions of which it is to be noted still that they were stopped."""
        return {one.execution for one in self._left.copy()}

    def write_left(self) -> None:
        """Note who was stopped, of the oldest. Raises `Denied` when the journal cannot be written."""
        with self._writing:
            while now := list(itertools.islice(self._left.copy(), _AT_ONCE)):
                with self._journal.transaction() as database:
                    for one in now:
                        row = row_of(database, one.execution)
                        if row is not None and row.outcome is None:
                            self._end(database, one.execution, one.sidecar, row.steps, "stopped", one)
                for _ in now:
                    self._left.popleft()

    def find(self, execution: str, number: int) -> Noted | None:
        """A step of an execution."""
        with self._journal.transaction() as database:
            return self._found(database, execution, number)

    def _noted_before(self, database: sqlite3.Connection, execution: str, key: Key) -> Noted | None:
        """The step that was noted under a key. Raises `NotOfIt` when that said something else."""
        query = "SELECT asked, number FROM step_key WHERE execution = ? AND key = ?"
        row = database.execute(query, (execution, key.name)).fetchone()
        if row is None:
            return None
        if row[0] != key.asked:
            raise NotOfIt(f"the key {key.name} is that of another step of this execution")
        return self._found(database, execution, row[1])

    def _found(self, database: sqlite3.Connection, execution: str, number: int) -> Noted | None:
        found = self._journal.found(database, execution, number)
        if found is None or found[0].kind != STEP:
            return None
        said = found[0].byproducts
        return Noted(number, int(said["steps"]), said["step"], found[1])

    def _end(
        self,
        database: sqlite3.Connection,
        execution: str,
        sidecar: str,
        steps: int,
        outcome: str,
        stopped: Stopped | None = None,
    ) -> None:
        now, reason = int(time.time()), str(stopped.reason) if stopped else None
        said = {"execution": execution, "outcome": outcome, "reason": reason, "steps": str(steps)}
        by = (Ref("state", stopped.state),) if stopped and stopped.state else ()
        draft = Draft(kind=END, sidecar=sidecar, at=now, byproducts=said, materials=by)
        self._journal.add(database, draft, room=OWN_ROOM if stopped else 0)
        database.execute("UPDATE execution SET outcome = ?, ended_at = ? WHERE id = ?", (outcome, now, execution))

    def _is_full(self, database: sqlite3.Connection, execution: str, row: Row) -> bool:
        """Whether it has all that a proof can hold: starts, also such as are repeated, steps, and an end."""
        said = row.steps + self._journal.starts(database, execution)
        return said > MAX_STEPS or self._journal.size(database, execution) > MAX_BYTES

    def _require_startable(
        self, database: sqlite3.Connection, execution: str, claims: Mapping[str, Any], workflow: str | None
    ) -> None:
        self._require_not_ended(execution)  # it may have been stopped since it got its token
        if execution in self.left():  # and what is about to be noted as over does not start once more
            raise Denied(Reason.EXECUTION_ENDED, "it is over")
        row = row_of(database, execution)
        require_same(row, claims, workflow)
        if row is not None and self._is_full(database, execution, row):
            raise Denied(Reason.EXECUTION_CONFLICT, f"an execution has {_MOST}")

    def _open(self, database: sqlite3.Connection, execution: str) -> Row:
        self._require_not_ended(execution)
        row = row_of(database, execution)
        if row is None:
            raise Denied(Reason.LINEAGE_UNAVAILABLE, "the journal does not know that it started")
        require_running(row.outcome)
        return row

    def _require_not_ended(self, execution: str) -> None:
        """What was stopped while the journal could not be written is stopped all the same."""
        require_running(self._ended.outcome(execution))

    def _stop_for(self, execution: str, sidecar: str, denied: Denied, row: Row | None) -> None:
        if row is not None and denied.reason in {Reason.WORKFLOW_VIOLATED, Reason.WORKFLOW_REQUIRED}:
            self.stop(execution, sidecar, denied.reason, row.owner)

    def _done(self, database: sqlite3.Connection, execution: str) -> list[Done]:
        drafts = self._journal.drafts(database, execution, STEP)
        return [Done(one.byproducts["step"], one.materials, one.products) for one in drafts]
