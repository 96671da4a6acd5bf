"""A path in a record and the value there, as people write them: `input.context.amount=40`.

The names of members are joined by dots. One that has an equals sign in it, or looks like a place in an array, is
written as JSON writes texts: `labels."a=b"=1`.
"""

from __future__ import annotations

import json
import re

#: Characters of a path and its value.
MAX_TEXT = 1024

#: A path, such as `input.context.amount`, and the value there as text.
Leaf = tuple[str, str]

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"(?=[.=])')
_BARE = re.compile(r"[^.=]*")
#: As `[0]`, at the end of a member's name.
_PLACE = re.compile(r"\[[0-9*]*\](?:\[|\Z)")
#: The operands of a builtin are the name of what it gave: an array, as JSON.
_OPERANDS = "nd_builtin_cache"


def read(text: str) -> Leaf:
    """The path and the value that a text names. Raises `ValueError`."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{text[:80]!r} is too long: a path and its value have at most {MAX_TEXT} characters")
    names: list[str] = []
    mark, at = ".", 0
    while mark == ".":
        name, at = _name(text, at)
        if name is None:
            name = _BARE.match(text, at)[0]  # type: ignore[index]  # it fits everywhere
            at += len(name)
            if _PLACE.search(name) and names[:1] != [_OPERANDS]:
                raise ValueError(f"{text[:80]!r} names a place in an array: leave it out, any element counts")
        names.append(name)
        mark, at = text[at : at + 1], at + 1
    path = ".".join(names)
    if mark != "=" or not path:
        raise ValueError(f"{text[:80]!r} is not a path and its value, such as input.context.amount=40")
    return path, text[at:]


def _name(text: str, at: int) -> tuple[str | None, int]:
    """A name in quotes that begins there, and where it ends; None where there is none."""
    match = _QUOTED.match(text, at)
    if match is None:
        return None, at
    try:
        name: str = json.loads(match[0])
    except ValueError:
        return None, at
    return name, match.end()
