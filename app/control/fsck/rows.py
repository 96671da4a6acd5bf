"""Decision rows: made anew of the raw records, as at ingest, and compared column by column."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from app.control import raw_records, record_lines, record_rows
from app.control.fsck.finding import Finding, changed
from app.control.fsck.tables import columns_of
from app.control.raw_records import Entries
from app.control.store import Decision, decision_row
from app.control.store.columns import unpacked_digest
from app.core import usual_record
from app.core.record_frames import PLAIN
from app.core.usual_record import Usual

#: A row of `decision` without its id and its batch, in the order of the columns.
Values = tuple[Any, ...]

COLUMNS = columns_of(Decision)
_PROVED = COLUMNS[2:]
#: Where a row has what a record makes; what ingest leaves empty is at the end, None.
_pick = itemgetter(*(record_rows.COLUMNS.index(name) if name in record_rows.COLUMNS else -1 for name in _PROVED))
PLACE, TIME, OUTCOME = (_PROVED.index(name) for name in ("position", "time_ns", "outcome"))
_ID = _PROVED.index("decision_id")

#: Findings about rows of one batch; what is more is only counted.
MAX_FINDINGS = 50

#: A record without a time of its own got that of its receipt: nanoseconds by which it may differ from `received_at`.
_RECEIPT = 60 * 1_000_000_000

#: How deep a record must be nested for parsers to give up on it, where much of the stack is in use already.
_DEEP = 200


@dataclass(frozen=True)
class Rows:
    """A batch's decision rows in the database."""

    batch: int
    #: As `Tables.decisions` gives them, and how many there are in all.
    stored: list[tuple[Any, ...]]
    count: int
    #: When the batch was received, nanoseconds since 1970; None when that cannot be read.
    received: int | None
    #: Rows of a decision id, whichever batch they name.
    named: Callable[[str], list[tuple[Any, ...]]]


def places(key: Any, entries: Entries) -> Sequence[int]:
    """The position of each entry, as decision rows have it: see `app.control.raw_records`."""
    if isinstance(key, str) and key.endswith(PLAIN):
        return [begin for begin, _ in raw_records.begins(entries)]
    return range(len(entries))


def derive(
    system: str, sidecar: str, entries: Entries, at: Sequence[int], usual: Sequence[Usual | None] | None = None
) -> tuple[list[Values], int]:
    """The rows of a batch's records, as `record_rows.Read` makes them, and how many entries have none.

    The time of a record that has none of its own is None here. Of an erased entry there is no row, nor is it counted.
    `usual`: the entries as `usual_record.read_all` reads them, where that was done already.
    """
    made = []
    others = 0
    members = usual_record.read_all(entries) if usual is None else usual
    there = [(raw, read, place) for raw, read, place in zip(entries, members, at, strict=True) if raw is not None]
    lines = record_lines.read_lines([raw for raw, _, _ in there], [read for _, read, _ in there])
    for line, (_, _, place) in zip(lines, there, strict=True):
        if line is None:
            others += 1
        else:
            made.append(_pick((system, sidecar, place, *record_rows.columns_of(line, line.time_ns), None)))
    return made, others


def compare(rows: Rows, due: list[Values], record: Callable[[int], bytes]) -> Iterator[Finding]:
    """What is wrong with a batch's rows, which must be `due`, made of the records that `record` gives by position."""
    if len(due) == len(rows.stored) and all(
        row[2:] == values and row[0] == decision_row(rows.batch, values[PLACE])
        for row, values in zip(rows.stored, due, strict=True)
    ):
        return
    if len(due) > 1 and not {row[2:] for row in rows.stored} & set(due):
        nowhere = list(_elsewhere(rows, due))
        if nowhere:
            yield from nowhere
            return
    findings = 0
    for finding in _differences(rows, due, record):
        findings += 1
        if findings <= MAX_FINDINGS:
            yield finding
    unread = rows.count - len(rows.stored)
    if findings > MAX_FINDINGS or unread:
        more = max(0, findings - MAX_FINDINGS) + unread
        yield Finding("changed", f"{more} further differences of decision rows of this batch", "batch", rows.batch)


def _differences(rows: Rows, due: list[Values], record: Callable[[int], bytes]) -> Iterator[Finding]:
    pairs, missing, surplus = _paired(due, rows.stored)
    receipt = receipt_of(rows, due)
    for values, row in pairs:
        if values[TIME] is None:
            yield from _receipt_time(row, receipt)
        if not _alike(values, row[2:]) and not _read_otherwise(values, row[2:], record):
            for name, one, other in zip(_PROVED, values, row[2:], strict=True):
                if one != other and not (name == "time_ns" and one is None):
                    yield changed("decision", row[0], name, _shown(one), _shown(other))
        yield from number(row, rows.batch, values[PLACE])
    for values in missing[: MAX_FINDINGS + 1]:
        same = [row[0] for row in rows.named(values[_ID]) if row[1] != rows.batch and _alike(values, row[2:])]
        yield Finding(
            "missing",
            f"batch {rows.batch} has no row of the decision {values[_ID]} at {values[PLACE]} of its records",
            "decision",
            expected=rows.batch,
            pair=("decision", same[0]) if same else None,
        )
    for row in surplus:
        detail = f"no record of batch {rows.batch} makes this row"
        yield Finding(
            "surplus", detail, "decision", row[0], "batch", found=rows.batch, pair=("decision", row[0])
        )  # fmt: skip


def number(row: tuple[Any, ...], batch: int, place: Any) -> Iterator[Finding]:
    """A row's number follows from its batch and its place there."""
    if row[0] != (due := decision_row(batch, place)):
        yield changed("decision", row[0], "id", due, row[0], f"the row of what is at {place} of batch {batch}")


def _elsewhere(rows: Rows, due: list[Values]) -> Iterator[Finding]:
    """No row is as it must be: all of them were removed, or the batch's own id was changed."""
    ends = [{row[1] for row in rows.named(one[_ID]) if _alike(one, row[2:])} for one in (due[0], due[-1])]
    other = min(ends[0] & ends[1], default=None)
    if other is not None and other != rows.batch:
        detail = f"the decision rows of this batch name batch {other}"
        yield Finding("missing", detail, "batch", rows.batch, "id", None, other, rows.batch, ("batch", other))
    elif not rows.stored:
        detail = f"batch {rows.batch} has none of its {len(due)} decision rows"
        yield Finding("missing", detail, "batch", rows.batch)


def _paired(
    due: list[Values], stored: Sequence[tuple[Any, ...]]
) -> tuple[list[tuple[Values, tuple[Any, ...]]], list[Values], list[tuple[Any, ...]]]:
    """Each row with the values that it must have: that of its place, else the most similar one that is left."""
    by_place: dict[tuple[Any, Any], tuple[Any, ...]] = {}
    surplus = []
    for row in stored:
        place = (row[2 + PLACE], row[2 + _ID])
        if place in by_place:
            surplus.append(row)
        else:
            by_place[place] = row
    pairs, missing = [], []
    for values in due:
        found = by_place.pop((values[PLACE], values[_ID]), None)
        if found is None:
            missing.append(values)
        else:
            pairs.append((values, found))
    surplus += by_place.values()
    if len(missing) * len(surplus) <= MAX_FINDINGS**2:
        for values in list(missing):
            best = max(surplus, key=lambda row: _equal(values, row[2:]), default=None)
            if best is not None and 2 * _equal(values, best[2:]) > len(_PROVED):
                pairs.append((values, best))
                missing.remove(values)
                surplus.remove(best)
        pairs.sort(key=lambda pair: pair[0][PLACE])
    return pairs, missing, surplus


def _equal(one: Values, other: Sequence[Any]) -> int:
    # Most columns of most records are empty: what is told apart weighs more.
    same = sum(bool(a == b) for a, b in zip(one, other, strict=True))
    return same + 2 * bool(one[PLACE] == other[PLACE]) + 2 * bool(one[_ID] == other[_ID])


def _alike(one: Values, other: Sequence[Any]) -> bool:
    return all(a == b or (number == TIME and a is None) for number, (a, b) in enumerate(zip(one, other, strict=True)))


def _shown(value: Any) -> Any:
    return unpacked_digest(value) if isinstance(value, bytes) else value


def receipt_of(rows: Rows, due: list[Values]) -> int | None:
    """The time of a batch's receipt, as the rows of records without a time of their own have it; None: of no row."""
    without = [values for values in due if values[TIME] is None]
    places, ids = ({values[at] for values in without} for at in (PLACE, _ID))
    times = Counter(row[2 + TIME] for row in rows.stored if row[2 + PLACE] in places or row[2 + _ID] in ids)
    return max((time for time in times if _may_be_receipt(rows, time)), key=lambda time: times[time], default=None)


def _receipt_time(row: tuple[Any, ...], usual: int | None) -> Iterator[Finding]:
    """All records of a batch without a time of their own have the same, of its receipt, in whole microseconds."""
    there = row[2 + TIME]
    if there != usual:
        yield changed(
            "decision", row[0], "time_ns", "the time of receipt", there, "not the time of the batch's receipt"
        )


def _may_be_receipt(rows: Rows, time: Any) -> bool:
    if not isinstance(time, int) or time % 1000:
        return False
    return rows.received is None or abs(time - rows.received) <= _RECEIPT


def _read_otherwise(values: Values, stored: Sequence[Any], record: Callable[[int], bytes]) -> bool:
    """Whether ingest may have read a record so: parsers give up on deep ones at a depth that depends on the stack."""
    line = record(values[PLACE])
    if max(line.count(b"["), line.count(b"{")) < _DEEP:
        return False
    limit = sys.getrecursionlimit()
    try:
        for depth in range(limit - 2 * _DEEP, limit + 2 * _DEEP):
            sys.setrecursionlimit(depth)
            made = derive(values[0], values[1], [line], [values[PLACE]])[0]
            if made and _alike(made[0], stored):
                return True
    except RecursionError:
        return False
    finally:
        sys.setrecursionlimit(limit)
    return False
