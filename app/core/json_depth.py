"""How deep a line of JSON is, by its bytes: parsers that recurse fail at a depth that depends on who calls them."""

from __future__ import annotations

import re

#: Every byte but the opening brackets.
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"{[")))
_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]')


def brackets(raw: bytes) -> int:
    """How many levels a line has at most: its opening brackets, also those in strings. A quick look."""
    return len(raw.translate(None, _NO_BRACKETS))


def is_deep(raw: bytes, limit: int) -> bool:
    """Whether it has more levels than that."""
    if brackets(raw) <= limit:
        return False
    depth = 0
    for mark in _BRACKET.finditer(raw):
        if mark[0] in b"{[":
            depth += 1
            if depth > limit:
                return True
        elif mark[0] in b"}]":
            depth -= 1
    return False
