"""Rows of the values that a batch's decisions have: counted anew, and compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from app.control import value_counts
from app.control.fsck import rows
from app.control.fsck.finding import Finding, changed
from app.control.fsck.tables import Tables
from app.control.value_counts import TALLY, Tally

#: Rows of one batch that are named one by one.
_NAMED = 20

_NAMES = rows.COLUMNS[2:]
#: How many rows more than must be there are read of a batch.
MORE = 1000


def derive(of: Iterable[rows.Values], away: Iterable[tuple[Any, ...]]) -> dict[str, Tally]:
    """The values of decision rows, without their ids and batches, and of rows whose records are erased, `away`.

    No record tells what must be in the row of an erased one.
    """
    known = (row[2:] for row in away if value_counts.are_usual(row[2:], _NAMES))
    return value_counts.of_rows(sorted((*of, *known), key=lambda row: row[rows.PLACE]), _NAMES)


def compare(batch: int, due: dict[str, Tally], stored: Iterable[tuple[Any, ...]]) -> Iterator[Finding]:
    """What is wrong with the rows of a batch: (value, *tally) of each."""
    there: dict[str, Any] = {
        value: (bytes(places) if isinstance(places, memoryview) else places, *counts)
        for value, places, *counts in stored
    }
    if there == due:
        return
    wrong = sorted((one for one in there.keys() | due.keys() if there.get(one) != due.get(one)), key=repr)
    for one in wrong[:_NAMED]:
        yield from _difference(f"{one}/{batch}", due.get(one), there.get(one))
    if (more := len(wrong) - _NAMED) > 0:
        yield Finding("changed", f"{more} further values of this batch differ", "batch", batch)


def orphans(tables: Tables, told: Collection[int]) -> Iterator[Finding]:
    """Rows of batches that are not there; but of those whose decision rows tell it already."""
    for batch in set(tables.orphaned_values()) - {*told}:
        yield Finding("surplus", f"there is no batch {batch}", "batch_value", None, "batch", found=batch)


def _difference(key: str, due: Tally | None, there: Tally | None) -> Iterator[Finding]:
    if due is None:
        yield Finding("surplus", "no decision of the batch has this value", "batch_value", key)
    elif there is None:
        yield Finding("missing", "decisions of the batch have this value", "batch_value", key)
    else:
        for name, one, other in zip(TALLY, due, there, strict=True):
            if one != other:
                yield changed("batch_value", key, name, _shown(one), _shown(other))


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
