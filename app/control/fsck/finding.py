"""What was found, and the place where it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

#: changed: it is not what it must be. missing: something that must be there is not. surplus: something is there that
#: must not be. unproved: evidence does not verify. gap, fork: batches do not follow each other. repeat: a batch has
#: decisions that were sent before. unused: an object that no row names, such as one of a request that ended half-way;
#: it harms nothing and is no finding.
Kind = Literal["changed", "missing", "surplus", "unproved", "gap", "fork", "repeat", "unused"]

#: Of a row that has another seal.
WRITTEN = "not as the control plane wrote it"

#: Characters of a value that are shown.
_SHOWN = 200


@dataclass(frozen=True)
class Finding:
    """One place: a row of a table, perhaps a column of it, or an object."""

    kind: Kind
    detail: str
    table: str | None = None
    #: The row's id, or the columns that name it.
    row: int | str | None = None
    column: str | None = None
    #: The object's key.
    object: str | None = None
    #: What must be there, and what is; long values are cut around the first difference.
    expected: str | int | None = None
    found: str | int | None = None
    #: What is missing in one place and what is too many in another are the same when this is the same: such as the id
    #: of a decision row that was moved to another batch.
    pair: tuple[str, int] | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        """The finding as JSON that people and programs read."""
        names = ("kind", "table", "row", "column", "object", "expected", "found", "detail")
        return {name: getattr(self, name) for name in names}


def changed(table: str, row: int | str, column: str, expected: Any, found: Any, detail: str = "") -> Finding:
    """A column that holds something else than it must."""
    due, there = shown(expected, found)
    return Finding("changed", detail or f"{column} is not what it must be", table, row, column, None, due, there)


def moved(pair: tuple[str, int], missing: Finding, surplus: Finding) -> Finding:
    """What is missing in one place and too many in another, as one finding."""
    if pair[0] == "batch" and missing.row is not None:
        return changed("batch", missing.row, "id", pair[1], missing.row, "its decision rows name another batch")
    return changed("decision", pair[1], "batch", missing.expected, surplus.found)


def shown(expected: Any, found: Any) -> tuple[str | int | None, str | int | None]:
    """Both values, as JSON can hold them; of long texts the part around the first difference."""
    values = [value if isinstance(value, str | int | None) else repr(value) for value in (expected, found)]
    texts = [
        value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value for value in values
    ]
    one, other = texts
    start = 0
    if isinstance(one, str) and isinstance(other, str) and max(len(one), len(other)) > _SHOWN:
        same = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
        start = max(0, same - 20)
    return _cut(one, start), _cut(other, start)


def _cut(value: str | int | None, start: int) -> str | int | None:
    if not isinstance(value, str) or (start == 0 and len(value) <= _SHOWN):
        return value
    part = value[start : start + _SHOWN]
    return f"{'…' if start else ''}{part}{'…' if len(value) > start + _SHOWN else ''}"
