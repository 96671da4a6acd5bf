"""One batch: its row, its evidence, its objects and its decision rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from app.control.batch_checks import Signed
from app.control.fsck import rows, values
from app.control.fsck.claims import SIGNED, Claims, Signers, is_signed
from app.control.fsck.contents import Contents
from app.control.fsck.erased import Erased
from app.control.fsck.finding import WRITTEN, Finding, changed
from app.control.fsck.tables import Tables
from app.control.objects import Objects
from app.control.raw_records import Entries
from app.control.store import Seals
from app.control.store.as_stored import INSTANT, Row, as_bytes, instant
from app.core import merkle, usual_record, word_filter
from app.core.batch import BatchStatement
from app.core.errors import Denied
from app.core.usual_record import Usual

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
    seals: Seals

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
        entries, intact = contents.records()
        erased = Erased.of(self.tables, row["id"])
        wrong: set[int] | None = set() if intact else None
        usual = usual_record.read_all(entries or ())
        if is_signed(row):
            wrong = self._tree(contents, statement, entries, usual, intact, erased)
        if entries is not None and intact and not wrong and wrong is not None and None not in entries:
            contents.received(entries)
        elif entries is not None and None in entries and row["sha256"] != "":
            detail = "it would tell whether a guess at what was erased is right"
            contents.findings.append(changed("batch", row["id"], "sha256", "", row["sha256"], detail))
        if entries is not None and not is_signed(row):
            contents.findings += erased.entries(entries, None)
        claims = contents.claims
        late, sealed = list(_received(row)), self.seals.hold("batch", row)
        received = row["received_at"] if sealed and not late else None
        result = Checked(row["id"], claims, is_signed(row), received)
        result.findings, result.objects = contents.findings, contents.named
        result.findings += late
        if statement is not None:
            result.states = statement.states
        if entries is not None:
            result.entries = len(entries)
            if not is_signed(row) and intact and None not in entries:
                result.claims = replace(claims, last=claims.first + sum(len(entry or b"") + 1 for entry in entries))
                if row["last"] != result.claims.last:
                    result.findings.append(changed("batch", row["id"], "last", result.claims.last, row["last"]))
            if intact or wrong is not None:
                self._decisions(task, result, entries, usual, wrong or set(), erased)
        if not sealed and not any(one.table == "batch" for one in result.findings):
            # Where all that is signed is right, and rows name its number, it is the time of the receipt.
            column = "received_at" if is_signed(row) and task.count else None
            result.findings.append(Finding("changed", WRITTEN, "batch", row["id"], column))
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
        contents.findings += _columns(row, claims, signed, statement)
        return statement

    def _tree(
        self,
        contents: Contents,
        statement: BatchStatement | None,
        entries: Entries | None,
        usual: Sequence[Usual | None],
        intact: bool,
        erased: Erased,
    ) -> set[int] | None:
        """Records, salts and leaf hashes against the root, and the statement's counts against the records.

        Gives the numbers of the entries that were changed; None where those are not known.
        """
        salts, salts_intact = contents.addressed("salts")
        leaves = contents.made(entries, salts) if entries is not None and salts is not None else None
        if leaves is None or entries is None or merkle.root(leaves).hex() != contents.claims.root:
            wrong = contents.damage(entries, salts, intact and salts_intact)
            return set() if intact and not salts_intact else wrong  # where salts are at fault, records are not
        contents.leaves_of(leaves)
        contents.findings += erased.entries(entries, salts)
        whole = [entry for entry in entries if entry is not None]
        if (
            statement is not None
            and len(whole) == len(entries)
            and (detail := _denied(statement, whole, leaves, usual))
        ):
            contents.findings.append(
                Finding("unproved", detail, "batch", contents.row["id"], "evidence", str(contents.row["evidence"]))
            )
        return set()

    def _decisions(
        self,
        task: Task,
        result: Checked,
        entries: Entries,
        usual: Sequence[Usual | None],
        wrong: set[int],
        erased: Erased,
    ) -> None:
        """Compare the decision rows, but those of the entries `wrong`."""
        places = rows.places(task.row["object"], entries)
        due, others = rows.derive(result.claims.system, result.claims.sidecar, entries, places, usual)
        limit = len(entries) + _MORE
        stored = self.tables.decisions(result.row, task.first, task.last, limit) if task.count else []
        stored, away = erased.part(stored, entries, places)
        result.findings += erased.rows(away, result.claims.system, result.claims.sidecar)
        others += sum(entry is None for entry in entries) - len(away)
        result.decisions = len(due) + len(away)
        skip = {places[number] for number in wrong}
        if skip:
            due = [one for one in due if one[rows.PLACE] not in skip]
            stored = [one for one in stored if one[2 + rows.PLACE] not in skip]
        else:
            result.findings += _words(task.row, entries, usual)
        count = len(stored) if skip else task.count - len(away)
        received = _nanoseconds(result.received)
        there = rows.Rows(result.row, stored, count, received, self.tables.decisions_named)
        if not skip and not erased.rows_too:
            result.findings += _counted(task.row, there, due, others, away)
        wrong_rows = list(rows.compare(there, due, lambda place: entries[places.index(place)] or b""))
        result.findings += wrong_rows
        if not skip and not any(one.table == "batch" and one.pair for one in wrong_rows):  # else all are elsewhere
            # Rows that are right may say of a record what is not read of it here (`rows.compare`).
            made = values.derive(due if wrong_rows else [one[2:] for one in there.stored], away)
            result.findings += values.compare(result.row, made, self.tables.values(result.row, len(made) + values.MORE))


def _counted(
    row: Row, there: rows.Rows, due: list[rows.Values], others: int, away: list[tuple[Any, ...]]
) -> Iterator[Finding]:
    """What a batch's row says of its decisions; those of erased records, `away`, are as their rows say."""
    outcomes = Counter(one[rows.OUTCOME] for one in due) + Counter(one[2 + rows.OUTCOME] for one in away)
    says: dict[str, Any] = {
        "other_lines": others,
        "allows": outcomes["allow"],
        "denials": outcomes["deny"],
        "unreadable": outcomes["unreadable"],
    }
    times = {one[rows.TIME] for one in due} | {one[2 + rows.TIME] for one in away}
    if None in times:  # some got the time of the receipt, which only the rows know
        times = times - {None} | {rows.receipt_of(there, due)}
    if None not in times:
        says |= {"oldest_ns": min(times, default=None), "newest_ns": max(times, default=None)}
    for name, value in says.items():
        if row[name] != value:
            yield changed("batch", row["id"], name, value, row[name])


def _words(row: Row, entries: Entries, usual: Sequence[Usual | None]) -> Iterator[Finding]:
    """The filter by which a search passes over batches. What has none is always searched."""
    stored = row["words"]
    if stored is None:
        return
    there = as_bytes(stored)
    due = word_filter.build(entries, word_filter.form_of(there), usual)
    if there != due or isinstance(stored, str):
        detail = "the words are not those of the records"
        one, other = (f"sha256:{sha256(words).hexdigest()}" for words in (due, there))
        yield changed("batch", row["id"], "words", one, other, detail)


def _nothing_signed(row: Row) -> Iterator[Finding]:
    for name in (*SIGNED, "previous", "closed_at", "dropped"):
        if row[name] is not None:
            yield changed("batch", row["id"], name, None, row[name], "the batch came without a signature")


def _columns(row: Row, claims: Claims, signed: Signed, batch: BatchStatement) -> Iterator[Finding]:
    due: dict[str, Any] = vars(claims) | {
        "log_index": signed.log_index,
        "signed_at": instant(signed.verified.signed_at.astimezone(UTC)),
    }
    for name, value in due.items():
        if row[name] != value:
            yield changed("batch", row["id"], name, value, row[name])
    later: dict[str, Any] = {"closed_at": instant(batch.closed_at), "dropped": batch.dropped}
    for name, value in later.items():  # columns that batches stored before do not have
        if row[name] not in (None, value):
            yield changed("batch", row["id"], name, value, row[name])


def _denied(statement: BatchStatement, entries: list[bytes], leaves: list[bytes], usual: Sequence[Usual | None]) -> str:
    """How the records deny what the statement says of them; empty when they do not."""
    try:
        differ = statement.differing(entries, leaves, usual)
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
