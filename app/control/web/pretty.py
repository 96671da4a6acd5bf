"""JSON for people: indented, with every number as it was written."""

from __future__ import annotations

import json
from typing import Any


class _Number(str):
    """A number's own text."""

    __slots__ = ()


def parse(raw: bytes) -> Any:
    """JSON with numbers as text of their own. Raises ValueError (or RecursionError, for absurd nesting)."""
    return json.loads(raw, parse_int=_Number, parse_float=_Number)


def pretty(value: Any, indent: str = "") -> str:
    """`value`, as `parse` made it, on indented lines."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{deeper}{_scalar(name)}: {pretty(member, deeper)}" for name, member in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        lines = [deeper + pretty(member, deeper) for member in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    text = json.dumps(value, ensure_ascii=False)
    # What turns the direction of text could make a record read differently from what it says.
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]
