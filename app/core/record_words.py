"""What can be searched of a record: the words of its input and result, and the value at each JSON path.

The filters of batches (`app.core.word_filter`) and the exact search of records read them here, and must agree, since
a filter that lacks a word of its records would hide them. So what is read never depends on how deep the caller is.
Filters know the paths of the input and the result. At all others a record is read whole, and no filter is asked.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any

import msgspec

from app.core.json_depth import is_deep
from app.core.number_text import digits_of, is_number, plain
from app.core.record_path import Leaf

#: Levels of brackets of a record that are read by path; of a deeper one, and of one that is no JSON, words alone.
MAX_DEPTH = 128
#: Characters of a record without paths whose words are read.
MAX_TEXT = 64 * 1024

#: Characters of a path: what is below a longer one counts by its words alone. A name may be long, and stands in the
#: path of everything below it.
MAX_PATH = 256
#: Different values of many records that are read; beyond, there are too many to tell what is not among them.
MAX_LEAVES = 100_000

#: Members that hold tokens, of which records keep what is no token: filters and words leave them out.
_TOKENS = {"input.identity", "input.warrant", "input.proof", "input.environment", "input.execution.token"}

#: How members of the input are named that have such a path.
TOKEN_MEMBERS = [path.removeprefix("input.") for path in _TOKENS]

#: The term of a record that is not read by path, so that none of its values stands in the filter.
PATHLESS = "="

#: Leaves of which words alone count.
BARE = {"", "decision_id"}

#: A UUID is one word, since its parts say nothing.
WORD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\w+")
#: A word of which only the beginning is said.
_BEGUN = re.compile(r"\w\*\Z")
#: The word that was begun: it may be a UUID.
_LAST = re.compile(r"[\w-]+\*\Z")
#: Names of members that are looked for in the bytes of a record before it is read.
_MAX_NAMES = 16
#: What stands in a record as it is read, where that has no escapes.
_VERBATIM = re.compile(r"[ !#-\[\]-~]+")


class _Record(msgspec.Struct):
    decision_id: str | None = None
    input: Any = None
    result: Any = None


# Numbers with a fraction or an exponent stay text: a float would make two of them one.
_decode = msgspec.json.Decoder(_Record, float_hook=str).decode
_decode_value = msgspec.json.Decoder(float_hook=str).decode
_decode_slowly = json.JSONDecoder(parse_int=str, parse_float=str).decode


class TooMany(ValueError):
    """There is more to read of a batch than is read."""


def fold(text: str) -> str:
    """Text as it is compared: caseless, and without a difference between two spellings of one character."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()


def words(text: str) -> list[str]:
    """The words of a text, folded: runs of letters, digits and underscores, and UUIDs."""
    return WORD.findall(fold(text))


def pair(path: str, value: str) -> str:
    """What stands for "this value at this path" beside words, none of which has an equals sign.

    Names of members are joined by dots, and the places in an array left out: `input.roles=admin` is any of them.
    """
    return f"{path}={plain(value)}"


def leaves(raw: bytes) -> Iterator[Leaf]:
    """The values in the input and the result of a record, and its id; of what has no path, the value at the path ``.

    Nothing of a line that cannot be a record.
    """
    record = _read(raw)
    if record is None:
        if raw.lstrip().startswith(b"{") or b"decision_id" in raw:
            yield "", raw[:MAX_TEXT].decode("utf-8", "replace")
        return
    if record.decision_id is not None:
        yield "decision_id", record.decision_id
    yield from _below([("input", record.input), ("result", record.result)])


def leaves_within(path: str, name: str, value: bytes) -> Iterator[Leaf]:
    """The leaves of one member of the input or the result. Raises `MsgspecError`, `ValueError` where it has no path."""
    return _below([(_join(path, name), _decode_value(value))])


def is_known(path: str) -> bool:
    """Whether filters know the values at a path."""
    if len(path) > MAX_PATH or not path.startswith(("input.", "result.")):
        return False
    return not any(path == token or path.startswith(f"{token}.") for token in _TOKENS)


def _at_known(paths: Set[str], on_the_way: Set[str], raw: bytes) -> Iterator[Leaf]:
    """The leaves of a record that lie at these paths, which filters know, and little else of it."""
    record = _read(raw)
    if record is not None:
        pending = [("input", record.input), ("result", record.result)]
        yield from (leaf for leaf in _below(pending, on_the_way) if leaf[0] in paths)


def _at(paths: Set[str], on_the_way: Set[str], raw: bytes) -> Iterator[Leaf]:
    """The leaves of a record that lie at these paths, wherever that is."""
    pending: list[tuple[str | None, Any]] = [(None, _read_whole(raw))]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            below = ((name if path is None else f"{path}.{name}", member) for name, member in value.items())
            pending.extend(one for one in below if one[0] in on_the_way)
        elif isinstance(value, list):
            pending.extend([(path, member) for member in value])
        elif path in paths:
            yield str(path), value if isinstance(value, str) else _text(value)


def _ways(paths: Set[str]) -> set[str]:
    """These, and what may be on the way to them: a dot parts names, or stands in one. Made once, as it may be much."""
    return {path[:at] for path in paths for at, mark in enumerate(f"{path}.") if mark == "."}


def _below(pending: list[tuple[str, Any]], only: Set[str] | None = None) -> Iterator[Leaf]:
    """The leaves of values at their paths; with `only`, those alone to which its paths lead one by one."""
    while pending:
        path, value = pending.pop()
        kind = type(value)
        if kind is dict:
            room = MAX_PATH - len(path) if path else 0
            for name, member in value.items():
                below = f"{path}.{name}" if len(name) < room else ""
                if below in _TOKENS or (only is not None and below not in only):
                    continue
                kind = type(member)
                if kind is str:  # most are: the quickest way for them
                    yield below, member
                elif kind is dict or kind is list:
                    pending.append((below, member))
                else:
                    yield below, _text(member)
        elif kind is list:
            pending.extend([(path, member) for member in value])
        else:
            yield path, value if kind is str else _text(value)


def _join(path: str, name: str) -> str:
    """The path of a member; empty where it, or one above it, is too long to be one."""
    return f"{path}.{name}" if path and len(path) + len(name) < MAX_PATH else ""


class Wanted:
    """What to look for: every part of `text`, parted by spaces, as it stands; and every value of `where` at its path.

    A part counts where its words are whole words: `job-17` is in `the job-17`, not in `job-170`. With `job-17*` it is:
    an asterisk at the end stands for the rest of a word, which no filter knows.
    """

    def __init__(self, text: str = "", where: Sequence[Leaf] = ()) -> None:
        parts = fold(text).split()
        self._texts = [part[:-1] if _BEGUN.search(part) else part for part in parts]
        self._words = [word for part in parts for word in words(_LAST.sub("", part) if _BEGUN.search(part) else part)]
        known, others = ([one for one in where if is_known(one[0]) is wanted] for wanted in (True, False))
        self._known, self._others = (_plain(known), _plain(others))
        self._known_at, self._others_at = ({path for path, _ in some} for some in (known, others))
        self._known_ways, self._others_ways = (_ways(self._known_at), _ways(self._others_at))
        verbatim = [value for _, value in where if not _is_other(value)]
        # Nothing else rules out a record at once that has no such member. Of very many names the longest are enough.
        names = {name for path, _ in others for name in path.split(".")}
        verbatim += sorted(names, key=len)[-_MAX_NAMES:]
        self._verbatim = [one.encode() for one in verbatim if _VERBATIM.fullmatch(one)]
        #: However a number is written, its digits stand together but for a point.
        self._digits = [digits_of(value).encode() for _, value in where if is_number(value)]
        self._bytes = [part.encode("utf-8", "surrogatepass") for part in self._texts]
        #: The terms that a record must have, and so the filter of its batch.
        self.terms = [*self._words, *{pair(*one) for one in known}]
        self._parts = [_as_it_stands(part) for part in parts]

    def may_be_in(self, raw: bytes) -> bool:
        """Whether a look at the bytes of a record does not rule it out: much quicker than reading it."""
        if b"\\" in raw:  # else each value stands in it as it is read
            return True
        if not all(value in raw for value in self._verbatim):
            return False
        # (A pattern would go back over a long row of one digit again and again.)
        if self._digits and not all(map(raw.replace(b".", b"").__contains__, self._digits)):
            return False
        return not self._texts or not raw.isascii() or all(map(raw.lower().__contains__, self._bytes))

    def in_record(self, raw: bytes) -> bool:
        """Whether all of it is in a record."""
        if not self.may_be_in(raw):
            return False
        if self._known and not self._known <= _plain(_at_known(self._known_at, self._known_ways, raw)):
            return False
        if self._others and not self._others <= _plain(_at(self._others_at, self._others_ways, raw)):
            return False
        if not self._texts:
            return True
        text = fold("\n".join(value for _, value in leaves(raw)))
        return all(part.search(text) for part in self._parts) and set(words(text)).issuperset(self._words)


def _plain(leaves: Iterable[Leaf]) -> set[Leaf]:
    """Leaves as they are compared."""
    return {(path, plain(value)) for path, value in leaves}


def _is_other(value: str) -> bool:
    """Whether a value that reads so may be written otherwise in a record."""
    return is_number(value) or value in ("nan", "inf", "-inf")


def _as_it_stands(part: str) -> re.Pattern[str]:
    before = r"(?<!\w)" if re.match(r"\w", part) else ""
    if _BEGUN.search(part):
        return re.compile(before + re.escape(part[:-1]))
    after = r"(?!\w)" if re.search(r"\w\Z", part) else ""
    return re.compile(before + re.escape(part) + after)


def _read(raw: bytes) -> _Record | None:
    """The record, as far as it is read by path; None where that cannot be."""
    if is_deep(raw, MAX_DEPTH):
        return None
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, ValueError):
        pass  # such as half a character, or a number of 5,000 digits
    read = _read_slowly(raw)
    if read is None:
        return None
    name = read.get("decision_id")
    return _Record(name if isinstance(name, str) else None, read.get("input"), read.get("result"))


def _read_whole(raw: bytes) -> dict[str, Any] | None:
    """All members of a record; None where it is not read by path."""
    if is_deep(raw, MAX_DEPTH):
        return None
    try:
        read = _decode_value(raw)
    except (msgspec.MsgspecError, ValueError):
        return _read_slowly(raw)
    return read if isinstance(read, dict) else None


def _read_slowly(raw: bytes) -> dict[str, Any] | None:
    try:
        read = _decode_slowly(raw.decode())
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value) if not isinstance(value, bool) else "true" if value else "false"
