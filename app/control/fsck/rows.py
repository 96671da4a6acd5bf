"""Decision rows: made anew of the raw records, as at ingest, and compared column by column."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from app.control import record_lines
from app.control.fsck.finding import Finding, changed
from app.control.fsck.tables import columns_of
from app.control.store import Decision

#: A row of `decision` without its id and its batch, in the order of the columns.
Values = tuple[Any, ...]

COLUMNS = columns_of(Decision)
_PROVED = COLUMNS[2:]
_pick = itemgetter(*_PROVED)
_TIME, _OFFSET, _ID = (_PROVED.index(name) for name in ("time_ns", "offset", "decision_id"))

#: Findings about rows of one batch; what is more is only counted.
MAX_FINDINGS = 50

#: A record without a time of its own got that of its receipt: nanoseconds by which it may be later than `received_at`.
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


def derive(system: str, sidecar: str, raw: bytes) -> tuple[list[Values], int]:
    """The rows of a batch's records, as `records.read_rows` makes them, and how many lines have none.

    The time of a record that has none of its own is None here.
    """
    made = []
    others = 0
    for line in record_lines.read_lines(raw):
        if line is None:
            others += 1
        else:
            values = vars(line)
            values.update(system=system, sidecar=sidecar, reasons=json.dumps(line.reasons))
            made.append(_pick(values))
    return made, others


def compare(rows: Rows, due: list[Values], raw: bytes) -> Iterator[Finding]:
    """What is wrong with a batch's rows, which must be `due`, made of the records `raw`."""
    if len(due) == len(rows.stored) and all(row[2:] == values for row, values in zip(rows.stored, due, strict=True)):
        return
    if len(due) > 1 and not {row[2:] for row in rows.stored} & set(due):
        nowhere = list(_elsewhere(rows, due))
        if nowhere:
            yield from nowhere
            return
    findings = 0
    for finding in _differences(rows, due, raw):
        findings += 1
        if findings <= MAX_FINDINGS:
            yield finding
    unread = rows.count - len(rows.stored)
    if findings > MAX_FINDINGS or unread:
        more = max(0, findings - MAX_FINDINGS) + unread
        yield Finding("changed", f"{more} further differences of decision rows of this batch", "batch", rows.batch)


def _differences(rows: Rows, due: list[Values], raw: bytes) -> Iterator[Finding]:
    pairs, missing, surplus = _paired(due, rows.stored)
    times = Counter(row[2 + _TIME] for values, row in pairs if values[_TIME] is None)
    receipt = max(times, key=lambda time: (_may_be_receipt(rows, time), times[time]), default=None)
    last = -1
    for values, row in pairs:
        if values[_TIME] is None:
            yield from _receipt_time(rows, row, receipt)
        if not _alike(values, row[2:]) and not _read_otherwise(values, row[2:], raw):
            for name, one, other in zip(_PROVED, values, row[2:], strict=True):
                if one != other and not (name == "time_ns" and one is None):
                    yield changed("decision", row[0], name, one, other)
        if row[0] < last:
            yield changed("decision", row[0], "id", f"more than {last}", row[0], "the row is out of its order")
        last = max(last, row[0])
    for values in missing[: MAX_FINDINGS + 1]:
        same = [row[0] for row in rows.named(values[_ID]) if row[1] != rows.batch and _alike(values, row[2:])]
        yield Finding(
            "missing",
            f"batch {rows.batch} has no row of the decision {values[_ID]} at byte {values[_OFFSET]} of its records",
            "decision",
            expected=rows.batch,
            pair=("decision", same[0]) if same else None,
        )
    for row in surplus:
        detail = f"no record of batch {rows.batch} makes this row"
        yield Finding(
            "surplus", detail, "decision", row[0], "batch", found=rows.batch, pair=("decision", row[0])
        )  # fmt: skip


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
        place = (row[2 + _OFFSET], row[2 + _ID])
        if place in by_place:
            surplus.append(row)
        else:
            by_place[place] = row
    pairs, missing = [], []
    for values in due:
        found = by_place.pop((values[_OFFSET], values[_ID]), None)
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
        pairs.sort(key=lambda pair: pair[0][_OFFSET])
    return pairs, missing, surplus


def _equal(one: Values, other: Sequence[Any]) -> int:
    # Most columns of most records are empty: what is told apart weighs more.
    same = sum(bool(a == b) for a, b in zip(one, other, strict=True))
    return same + 2 * bool(one[_OFFSET] == other[_OFFSET]) + 2 * bool(one[_ID] == other[_ID])


def _alike(one: Values, other: Sequence[Any]) -> bool:
    return all(a == b or (number == _TIME and a is None) for number, (a, b) in enumerate(zip(one, other, strict=True)))


def _receipt_time(rows: Rows, row: tuple[Any, ...], usual: Any) -> Iterator[Finding]:
    """All records of a batch without a time of their own have the same, of its receipt, in whole microseconds."""
    there = row[2 + _TIME]
    if there != usual or not _may_be_receipt(rows, there):
        yield changed(
            "decision", row[0], "time_ns", "the time of receipt", there, "not the time of the batch's receipt"
        )


def _may_be_receipt(rows: Rows, time: Any) -> bool:
    if not isinstance(time, int) or time % 1000:
        return False
    return rows.received is None or 0 <= time - rows.received <= _RECEIPT


def _read_otherwise(values: Values, stored: Sequence[Any], raw: bytes) -> bool:
    """Whether ingest may have read a record so: parsers give up on deep ones at a depth that depends on the stack."""
    start = values[_OFFSET]
    line = raw[start : raw.find(b"\n", start) + 1]
    if max(line.count(b"["), line.count(b"{")) < _DEEP:
        return False
    limit = sys.getrecursionlimit()
    try:
        for depth in range(limit - 2 * _DEEP, limit + 2 * _DEEP):
            sys.setrecursionlimit(depth)
            made = derive(values[0], values[1], line)[0]
            if made and _alike(_moved(made[0], start), stored):
                return True
    except RecursionError:
        return False
    finally:
        sys.setrecursionlimit(limit)
    return False


def _moved(values: Values, offset: int) -> Values:
    return (*values[:_OFFSET], offset, *values[_OFFSET + 1 :])
