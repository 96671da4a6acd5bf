"""Which values decision rows have in the columns that have no index of their own. Nothing here needs the database."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from app.control.record_lines import MAX_REASON, clean
from app.core.packed_digest import unpacked_digest

#: What is counted, by the columns of decision rows.
COLUMNS = {
    "action": "action",
    "resource_type": "resource_type",
    "subject_issuer": "subject_issuer",
    "policy": "policy",
    "reason": "reasons",
}
#: The columns of `batch_value` that count decisions, by their outcome.
COUNTS = {"allow": "allows", "deny": "denials", "unreadable": "unreadable"}

#: Of more decisions of one batch that have a value, the places are not kept: that they are many is enough.
MAX_PLACES = 128
#: What is known of a value: the places of its decisions, and how many of them there are of each outcome.
TALLY = ("places", *COUNTS.values())
_SLOT = {outcome: number for number, outcome in enumerate(COUNTS)}

#: Values in the order of `TALLY`.
Tally = tuple[bytes | None, int, int, int]


def named(name: str, value: str) -> str:
    """A value and its column, as `COLUMNS` names it, in one text."""
    return f"{name}={value}"


def of_rows(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> dict[str, Tally]:
    """The values of decision rows, each of these columns as the database holds them, in the order of their places."""
    place, outcome = columns.index("position"), columns.index("outcome")
    found: list[tuple[str, int, dict[Any, _Counted]]] = [
        (name, columns.index(column), {}) for name, column in COLUMNS.items()
    ]
    for row in rows:
        position, slot = row[place], _SLOT[row[outcome]]
        for _, at, counted in found:
            one = counted.get(row[at])
            if one is None:
                counted[row[at]] = one = ([], [0, 0, 0])
            one[0].append(position)
            one[1][slot] += 1
    by_value: dict[str, list[_Counted]] = defaultdict(list)
    for name, _, counted in found:
        for raw, one in counted.items():
            for text in _texts(name, raw):
                by_value[named(name, text)].append(one)
    return {value: _tally(of_value) for value, of_value in by_value.items()}


#: Places, in their order, and how many there are of each outcome.
_Counted = tuple[list[int], list[int]]


def _texts(name: str, raw: Any) -> Iterable[str]:
    """What stands in a column: of the list of reasons each once."""
    if raw is None:
        return ()
    if name == "reason":
        return set(json.loads(raw))
    return (unpacked_digest(raw) if isinstance(raw, bytes) else raw,)


def _tally(of_value: list[_Counted]) -> Tally:
    """Of a value that stands in several texts, such as lists of reasons, in one."""
    allows, denials, unreadable = (sum(numbers) for numbers in zip(*(counts for _, counts in of_value), strict=True))
    many = allows + denials + unreadable > MAX_PLACES
    return None if many else _packed(sorted(chain(*(at for at, _ in of_value)))), allows, denials, unreadable


def are_usual(row: Sequence[Any], columns: Sequence[str]) -> bool:
    """Whether a row may be one that was stored: somebody may have changed it, and it may hold anything."""
    values = dict(zip(columns, row, strict=True))
    try:
        reasons = json.loads(values["reasons"])
    except (ValueError, TypeError, RecursionError):
        return False
    others = [values[column] for column in COLUMNS.values() if column != "reasons"]
    texts = [unpacked_digest(one) if isinstance(one, bytes) else one for one in others]
    return (
        isinstance(reasons, list)
        and all(isinstance(one, str) and clean(one, MAX_REASON) == one for one in reasons)
        and all(text is None or (isinstance(text, str) and clean(text) == text) for text in texts)
        and values["outcome"] in COUNTS
        and isinstance(values["position"], int)
    )


def _packed(places: list[int]) -> bytes:
    """Two bytes for each, little-endian; four where the last one needs more."""
    return struct.pack(f"<{len(places)}{'H' if places[-1] < 1 << 16 else 'I'}", *places)


def places(tally: Sequence[Any]) -> tuple[int, ...] | None:
    """The places of a value; None where they are not known, nor to be read."""
    packed, *counts = tally
    if not isinstance(packed, bytes) or not all(isinstance(one, int) for one in counts):
        return None
    number = sum(counts)
    if len(packed) not in (2 * number, 4 * number):
        return None
    return struct.unpack(f"<{number}{'H' if len(packed) == 2 * number else 'I'}", packed)
