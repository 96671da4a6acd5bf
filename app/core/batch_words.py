"""The words and pairs of a batch's records (`app.core.record_words`), read part by part, if they are not too many.

What is read is bounded over all parts together: a batch that is made to be expensive takes no more for being parted.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from app.core.record_words import BARE, MAX_LEAVES, PATHLESS, WORD, Leaf, TooMany, fold, leaves_of_all, pair

#: Different words and pairs, added up over the parts; the characters of what is not spelt as it is compared; how many
#: more they become.
MAX_TERMS, MAX_FOLDED, MAX_GROWN = 175_000, 256 * 1024, 1024 * 1024

#: Texts that are shorter are looked at together, so many at once.
_SHORT, _TOGETHER = 256, 200


class BatchWords:
    """Reads one batch."""

    def __init__(self) -> None:
        #: What may still come: values, words and pairs, characters to fold, and more of them when folded.
        self._leaves, self._terms, self._folded, self._grown = MAX_LEAVES, MAX_TERMS, MAX_FOLDED, MAX_GROWN

    def terms(self, part: Iterable[bytes]) -> set[str]:
        """Every word and every pair of some of its entries. Raises `TooMany`."""
        leaves = leaves_of_all(part, self._leaves)
        self._leaves -= len(leaves)
        return self.terms_of(leaves)

    def terms_of(self, leaves: Iterable[Leaf]) -> set[str]:
        """Every word and every pair of some leaves. Raises `TooMany`."""
        found: set[str] = set()
        short: dict[str, list[str]] = defaultdict(list)
        for path, text in leaves:
            if len(text) < _SHORT and text.isascii():
                short[path].append(text)
                continue
            found.update(WORD.findall(self._fold(text)))
            self._add_pairs(found, path, (text,))
        for path, texts in short.items():
            # To look for the words of many at once is quicker, and no word goes on behind the end of a line.
            for at in range(0, len(texts), _TOGETHER):
                found.update(WORD.findall("\n".join(texts[at : at + _TOGETHER]).lower()))
                self._add_pairs(found, path, texts[at : at + _TOGETHER])
        self._terms -= len(found)
        return found

    def _add_pairs(self, found: set[str], path: str, texts: Sequence[str]) -> None:
        if path not in BARE:
            found.update([pair(path, text) for text in texts])
        elif not path:
            found.add(PATHLESS)
        if len(found) > self._terms:
            raise TooMany(f"more than {MAX_TERMS} words")

    def _fold(self, text: str) -> str:
        if text.isascii() or unicodedata.is_normalized("NFKC", text):
            return text.lower()
        self._folded -= len(text)
        if self._folded < 0:
            raise TooMany(f"more than {MAX_FOLDED} characters to fold")
        folded = fold(text)
        # What becomes shorter makes up for nothing, so that the order in which texts are read does not matter.
        self._grown -= max(0, len(folded) - len(text))
        if self._grown < 0:
            raise TooMany(f"folded, they are {MAX_GROWN} more")
        return folded
