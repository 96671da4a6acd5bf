"""The words and pairs of a batch's records (`app.core.record_words`), and which parts of it have each.

Records of a batch are much alike: a member that several have is read once, and so is a value that several members hold.
What is read is bounded over all parts together: a batch that is made to be expensive takes no more for being parted.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.core.record_path import Leaf
from app.core.record_words import (
    BARE,
    MAX_LEAVES,
    PATHLESS,
    TOKEN_MEMBERS,
    WORD,
    TooMany,
    fold,
    leaves,
    leaves_within,
    pair,
)
from app.core.usual_record import Usual

#: Different words and pairs, added up over the parts; the characters of what is not spelt as it is compared; how many
#: more they become.
MAX_TERMS, MAX_FOLDED, MAX_GROWN = 175_000, 256 * 1024, 1024 * 1024

#: Texts that are shorter are looked at together, so many at once.
_SHORT, _TOGETHER = 256, 200

#: A bit for each part of a batch.
Parts = int

#: The values of members, as bytes, by the members' names; None for tokens, which are not even looked at.
_Values = dict[str, dict[bytes, Parts] | None]


def terms(
    entries: Sequence[bytes | None], usual: Sequence[Usual | None], part_of: Callable[[int], int] = lambda _: 0
) -> dict[str, Parts]:
    """Every word and every pair, with the parts that have it. Raises `TooMany`.

    None is an erased entry; `usual` are the members of each (`app.core.usual_record`), `part_of` tells its part.
    """
    by_parts: dict[Parts, list[Leaf]] = defaultdict(list)
    for leaf, parts in leaves_of_all(entries, usual, part_of).items():
        by_parts[parts].append(leaf)
    reader = _Terms()
    found: dict[str, Parts] = {}
    for parts, some in by_parts.items():
        for term in reader.of(some, parts.bit_count()):
            found[term] = found.get(term, 0) | parts
        _require_few(found, MAX_TERMS)
    _require_few(found, MAX_TERMS, exactly=True)
    return found


def leaves_of_all(
    entries: Sequence[bytes | None], usual: Sequence[Usual | None], part_of: Callable[[int], int] = lambda _: 0
) -> dict[Leaf, Parts]:
    """The leaves of all entries, with the parts that have them. Raises `TooMany`."""
    found: dict[Leaf, Parts] = {}

    def add(some: Iterable[Leaf], parts: Parts) -> None:
        for leaf in some:
            found[leaf] = found.get(leaf, 0) | parts
        _require_few(found, MAX_LEAVES)

    of_input: _Values = defaultdict(dict, dict.fromkeys(TOKEN_MEMBERS))
    of_result: _Values = defaultdict(dict)
    for raw, read, part in _parted(entries, usual, part_of):
        if read is None:
            add(leaves(raw), part)
            continue
        if read.decision_id is not None:
            add((("decision_id", read.decision_id),), part)
        for path, members, of in (("input", read.input, of_input), ("result", read.result, of_result)):
            if members is None:
                add(((path, "null"),), part)
                continue
            for name, value in members.items():
                if (values := of[name]) is not None and not (there := values.get(value, 0)) & part:
                    values[value] = there | part
    odd: set[tuple[str, bytes]] = set()
    for path, of in (("input", of_input), ("result", of_result)):
        for name, values in of.items():
            for value, parts in (values or {}).items():
                try:
                    add(leaves_within(path, name, value), parts)
                except (msgspec.MsgspecError, UnicodeError, OverflowError):
                    odd.add((name, value))
    if odd:
        for raw, read, part in _parted(entries, usual, part_of):
            if read is not None and not odd.isdisjoint((*(read.input or {}).items(), *(read.result or {}).items())):
                add(leaves(raw), part)
    _require_few(found, MAX_LEAVES, exactly=True)
    return found


def _parted(
    entries: Sequence[bytes | None], usual: Sequence[Usual | None], part_of: Callable[[int], int]
) -> Iterator[tuple[bytes, Usual | None, Parts]]:
    for number, (raw, read) in enumerate(zip(entries, usual, strict=True)):
        if raw is not None:
            yield raw, read, 1 << part_of(number)


def _require_few(found: Mapping[Any, Parts], most: int, *, exactly: bool = False) -> None:
    """Each counts as often as there are parts that have it; to count that each time would take long."""
    if (sum(map(int.bit_count, found.values())) if exactly else len(found)) > most:
        raise TooMany(f"more than {most} of them")


class _Terms:
    """Reads the leaves of one batch."""

    def __init__(self) -> None:
        #: What may still come: characters to fold, and more of them when folded.
        self._folded, self._grown = MAX_FOLDED, MAX_GROWN

    def of(self, leaves: Iterable[Leaf], times: int) -> set[str]:
        """Every word and every pair of some leaves, which count so often. Raises `TooMany`."""
        found: set[str] = set()
        short: dict[str, list[str]] = defaultdict(list)
        for path, text in leaves:
            if len(text) < _SHORT and text.isascii():
                short[path].append(text)
                continue
            found.update(WORD.findall(self._fold(text, times)))
            self._add_pairs(found, path, (text,))
        for path, texts in short.items():
            # To look for the words of many at once is quicker, and no word goes on behind the end of a line.
            for at in range(0, len(texts), _TOGETHER):
                found.update(WORD.findall("\n".join(texts[at : at + _TOGETHER]).lower()))
                self._add_pairs(found, path, texts[at : at + _TOGETHER])
        return found

    def _add_pairs(self, found: set[str], path: str, texts: Sequence[str]) -> None:
        if path not in BARE:
            found.update([pair(path, text) for text in texts])
        elif not path:
            found.add(PATHLESS)
        if len(found) > MAX_TERMS:
            raise TooMany(f"more than {MAX_TERMS} words")

    def _fold(self, text: str, times: int) -> str:
        if text.isascii() or unicodedata.is_normalized("NFKC", text):
            return text.lower()
        self._folded -= len(text) * times
        if self._folded < 0:
            raise TooMany(f"more than {MAX_FOLDED} characters to fold")
        folded = fold(text)
        # What becomes shorter makes up for nothing, so that the order in which texts are read does not matter.
        self._grown -= max(0, len(folded) - len(text)) * times
        if self._grown < 0:
            raise TooMany(f"folded, they are {MAX_GROWN} more")
        return folded
