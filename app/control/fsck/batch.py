"""One batch: its row, its evidence, its objects and its decision rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app.control.batch_checks import Signed
from app.control.fsck import rows
from app.control.fsck.claims import SIGNED, Claims, Signers, is_signed
from app.control.fsck.contents import Contents, entries_of
from app.control.fsck.finding import Finding, changed
from app.control.fsck.tables import INSTANT, Row, Tables, instant
from app.control.objects import Objects
from app.core import merkle
from app.core.batch import BatchStatement
from app.core.errors import Denied

#: By how much the clocks of a control plane and of a timestamp authority may differ.
CLOCKS = timedelta(minutes=10)

#: How many decision rows more than it has records are read of a batch.
_MORE = 1000


@dataclass(frozen=True)
class Task:
    """What there is to check: a row, and how many decision rows name it, between which ids."""

    row: Row
    count: int = 0
    first: int = 0
    last: int = 0


@dataclass
class Checked:
    """What came out of one batch."""

    row: int
    #: As its sidecar signed, or as its row says.
    claims: Claims
    signed: bool
    #: None where it cannot be right.
    received: str | None
    findings: list[Finding] = field(default_factory=list)
    entries: int = 0
    decisions: int = 0
    states: tuple[str, ...] = ()
    objects: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checker:
    """Checks batches, each by itself."""

    objects: Objects
    tables: Tables
    signers: Signers | None

    def check(self, task: Task) -> Checked:
        """Everything of one batch but what comes before and after it."""
        row = task.row
        contents = Contents(self.objects, row, Claims.of_row(row))
        statement = None
        if is_signed(row):
            statement = self._evidence(contents)
        else:
            contents.findings += _nothing_signed(row)
            contents.claims = Claims.of_place(row)
        raw, intact = contents.records()
        skip = self._tree(contents, statement, raw, intact) if is_signed(row) else (set() if intact else None)
        claims = contents.claims
        late = list(_received(row))
        received = None if late else row["received_at"]
        result = Checked(row["id"], claims, is_signed(row), received)
        result.findings, result.objects = contents.findings, contents.named
        result.findings += late
        if statement is not None:
            result.states = statement.states
        if raw is not None:
            result.entries = raw.count(b"\n")
            if not is_signed(row) and intact:
                result.claims = replace(claims, last=claims.first + len(raw))
                if row["last"] != result.claims.last:
                    result.findings.append(changed("batch", row["id"], "last", result.claims.last, row["last"]))
            if intact or skip is not None:
                self._decisions(task, result, raw, skip or set())
        return result

    def _evidence(self, contents: Contents) -> BatchStatement | None:
        """The statement of the row's batch, if it is proved: the columns are then compared with it."""
        row = contents.row
        body, intact = contents.addressed("evidence")
        if body is None or self.signers is None:
            return None
        try:
            signed, statement = self.signers.proved(body, row["system"], row["sidecar"])
        except Denied as denied:
            if intact:
                contents.findings.append(
                    Finding("unproved", str(denied), "batch", row["id"], "evidence", str(row["evidence"]))
                )
            return None
        claims = Claims.of_statement(statement, signed.payload)
        if not intact and row["payload"] != claims.payload:
            return None
        if row["payload"] != claims.payload and row["root"] != claims.root:
            detail = f"this is evidence of another batch, of entries {claims.first_entry} to {statement.next_entry - 1}"
            contents.findings.append(
                Finding("changed", detail, "batch", row["id"], "evidence", str(row["evidence"]))
            )  # fmt: skip
            return None
        contents.claims = claims
        contents.findings += _columns(row, claims, signed)
        return statement

    def _tree(
        self, contents: Contents, statement: BatchStatement | None, raw: bytes | None, intact: bool
    ) -> set[int] | None:
        """Records, salts and leaf hashes against the root, and the statement's counts against the records.

        Gives the bytes where entries begin that were changed; None where that is not known.
        """
        salts, salts_intact = contents.addressed("salts")
        tree = entries_of(raw, salts) if raw is not None and salts is not None else None
        if tree is None:
            return self._damage(contents, raw, salts, intact, salts_intact)
        if merkle.root(tree[1]).hex() != contents.claims.root:
            return self._damage(contents, raw, salts, intact, salts_intact)
        contents.leaves_of(tree[1])
        if statement is not None and (detail := _denied(statement, *tree)):
            contents.findings.append(
                Finding("unproved", detail, "batch", contents.row["id"], "evidence", str(contents.row["evidence"]))
            )
        return set()

    def _damage(
        self, contents: Contents, raw: bytes | None, salts: bytes | None, intact: bool, salts_intact: bool
    ) -> set[int] | None:
        begins = contents.damage(raw, salts, intact and salts_intact)
        return set() if intact and not salts_intact else begins  # where salts are at fault, records are not

    def _decisions(self, task: Task, result: Checked, raw: bytes, skip: set[int]) -> None:
        """Compare the decision rows, but those of entries that begin at `skip`."""
        place = rows.COLUMNS.index("offset")
        due, others = rows.derive(result.claims.system, result.claims.sidecar, raw)
        stored = self.tables.decisions(result.row, task.first, task.last, len(due) + _MORE) if task.count else []
        result.decisions = len(due)
        if skip:
            due = [values for values in due if values[place - 2] not in skip]
            stored = [one for one in stored if one[place] not in skip]
        elif others != task.row["other_lines"]:
            result.findings.append(changed("batch", result.row, "other_lines", others, task.row["other_lines"]))
        count = len(stored) if skip else task.count
        received = _nanoseconds(result.received)
        there = rows.Rows(result.row, stored, count, received, self.tables.decisions_named)
        result.findings += rows.compare(there, due, raw)


def _nothing_signed(row: Row) -> Iterator[Finding]:
    for name in (*SIGNED, "previous"):
        if row[name] is not None:
            yield changed("batch", row["id"], name, None, row[name], "the batch came without a signature")


def _columns(row: Row, claims: Claims, signed: Signed) -> Iterator[Finding]:
    due: dict[str, Any] = vars(claims) | {
        "log_index": signed.log_index,
        "signed_at": instant(signed.verified.signed_at.astimezone(UTC)),
    }
    for name, value in due.items():
        if row[name] != value:
            yield changed("batch", row["id"], name, value, row[name])


def _denied(statement: BatchStatement, entries: list[bytes], leaves: list[bytes]) -> str:
    """How the records deny what the statement says of them; empty when they do not."""
    try:
        differ = statement.differing(entries, leaves)
    except Denied as denied:
        return str(denied)
    return f"the records say otherwise than the statement of {', '.join(differ)}" if differ else ""


def _received(row: Row) -> Iterator[Finding]:
    """When a batch came is nobody's statement. It came after it was signed, and not in the future."""
    received, signed = _moment(row["received_at"]), _moment(row["signed_at"])
    if received is None:
        yield changed("batch", row["id"], "received_at", "a time", row["received_at"])
    elif signed is not None and received < signed - CLOCKS:
        yield changed("batch", row["id"], "received_at", f"after {row['signed_at']}", row["received_at"])
    elif received > datetime.now(UTC) + CLOCKS:
        yield changed("batch", row["id"], "received_at", "not in the future", row["received_at"])


def _moment(stored: Any) -> datetime | None:
    try:
        moment = datetime.strptime(stored, INSTANT).replace(tzinfo=UTC)
    except (ValueError, TypeError):
        return None
    return moment if instant(moment) == stored else None


def _nanoseconds(stored: Any) -> int | None:
    moment = _moment(stored)
    return None if moment is None else (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
