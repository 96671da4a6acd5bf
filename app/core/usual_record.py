"""A line of the usual form, parsed once for all who read it: for columns, for words, and for what a batch says of it.

Its members stay bytes: most records of a batch have the same ones, which whoever reads them then knows again. What is
unusual is None here, and read by each in the way that counts; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.core.json_depth import brackets

_Read = TypeVar("_Read")

#: Opening brackets that a line may have. Of deeper ones each parser gives up somewhere else.
MAX_BRACKETS = 128
#: Members of many lines that are kept at once: of a batch that is made to be expensive the rest is read line by line.
MAX_MEMBERS = 100_000


class _Line(msgspec.Struct, gc=False):
    type: str | UnsetType = UNSET
    path: Raw | UnsetType = UNSET
    decision_id: str | None = None
    timestamp: str | None = None
    error: Raw | UnsetType = UNSET
    input: dict[str, Raw] | None = None
    result: dict[str, Raw] | UnsetType | None = UNSET


class Usual(msgspec.Struct, gc=False):
    """An object on a line. A member that is not there is None, as one that is null is, where nothing else is said."""

    type: str | None
    has_path: bool
    decision_id: str | None
    timestamp: str | None
    #: Whether there is one that is not null.
    has_error: bool
    input: dict[str, bytes] | None
    result: dict[str, bytes] | None
    has_result: bool


_decode = msgspec.json.Decoder(_Line).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


def read(raw: bytes) -> Usual | None:
    """The members of a line, without its newline; None where it is to be read otherwise."""
    if brackets(raw) > MAX_BRACKETS:
        return None
    try:
        if not raw.isascii():
            raw.decode()  # strings that nobody looks at are not looked at below
        line = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    result = line.result
    return Usual(
        None if line.type is UNSET else line.type,
        line.path is not UNSET,
        line.decision_id,
        line.timestamp,
        line.error is not UNSET and bytes(line.error) != b"null",
        None if line.input is None else _as_bytes(line.input),
        _as_bytes(result) if result else None if result is None or result is UNSET else {},
        result is not UNSET,
    )


def read_all(entries: Iterable[bytes | None]) -> list[Usual | None]:
    """The members of each line; None also of an entry that is None, and of what comes after very many members."""
    found: list[Usual | None] = []
    room = MAX_MEMBERS
    for raw in entries:
        one = None if raw is None or room < 0 else read(raw)
        if one is not None:
            room -= len(one.input or ()) + len(one.result or ())
        found.append(one)
    return found


def members(value: bytes) -> dict[str, bytes]:
    """The members of an object within a line. Raises `msgspec.MsgspecError` for what is none."""
    return _as_bytes(_decode_members(value))


class Known(dict[bytes, _Read]):
    """What members are, by their bytes, each read once. It is for one batch: its size is what bounds it."""

    def __init__(self, read: Callable[[bytes], _Read]) -> None:
        self._read = read

    def __missing__(self, value: bytes) -> _Read:
        found = self[value] = self._read(value)
        return found


def _as_bytes(members: dict[str, Raw]) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in members.items()}
