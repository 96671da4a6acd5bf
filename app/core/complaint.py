"""What people read about documents from outside: one line, with nothing in it that a terminal would obey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.pattern_words import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError


#: Kinds of fault whose own words speak of the software rather than of the document.
_PLAIN = {
    "extra_forbidden": "there is no such member",
}


def complaint(error: ValidationError) -> str:
    """What is wrong first, and where; and how much more there is. It never repeats the input."""
    said = fault(error.errors(include_url=False, include_input=False)[0])
    where = place(error)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {said}{more}" if where else said + more


def fault(one: Mapping[str, Any]) -> str:
    """What one of a validation's errors says, without its place."""
    if one["type"] == "string_pattern_mismatch":
        return words(one["ctx"]["pattern"])[:400]
    return _PLAIN.get(one["type"], printable(one["msg"].removeprefix("Value error, ")))[:400]


def place(error: ValidationError) -> str:
    """Where the first fault is, such as `actions.0`; empty for the document as a whole."""
    first = error.errors(include_url=False, include_input=False)[0]
    return printable(".".join(str(part) for part in first["loc"]))[:200]


def many(count: int, one: str, others: str = "") -> str:
    """So many of something: `1 entry`, `2 entries`. `others`: the word for them, where it is not one with an s."""
    return f"{count} {one if count == 1 else others or one + 's'}"


def printable(text: str) -> str:
    """The text on one line, with control characters and what reorders lines (bidirectional marks) escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in " ".join(text.split())
    )
