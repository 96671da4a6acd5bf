"""What variables held at an event of OPA's trace, in the words of the source."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.syntax_tree import variables

#: Variables of a failed test that are shown, and characters of each value.
_MAX_VALUES = 12
_MAX_VALUE = 200

#: A reference such as `input.context.amount`, or the name of a call with its bracket.
_PART = re.compile(r"""([A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\["[^"]*"\])*)(\()?""")


def local_values(event: Mapping[str, Any], lines: Sequence[str]) -> list[str]:
    """`name = value` of the variables in an expression of a trace, whose file has these lines.

    Where OPA made a variable up for a part of the expression, that part stands for its name.
    """
    known = event.get("LocalMetadata") or {}
    held = {str(local["name"]): local for local in event.get("Locals") or []}
    said = []
    for variable in dict.fromkeys(variables(event.get("Node"))):
        if variable not in held:
            continue
        about = known.get(variable) or {}
        name = str(about.get("name", ""))
        if name.startswith(("__local", "$")):
            name = _part(about.get("location") or {}, lines)
        if name:
            said.append(f"{name} = {shown(plain(held[variable]))}")
    return list(dict.fromkeys(said))[:_MAX_VALUES]


def shown(value: Any) -> str:
    """A value as JSON, cut where it gets long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE else text[:_MAX_VALUE] + "…"


def _part(location: Mapping[str, Any], lines: Sequence[str]) -> str:
    """The reference or the call that begins at a place of the source."""
    row, column = int(location.get("row", 0)), int(location.get("col", 0))
    if not 0 < row <= len(lines) or column < 1:
        return ""
    # OPA counts bytes.
    found = _PART.match(lines[row - 1].encode()[column - 1 :].decode(errors="replace"))
    return found[1] + ("(…)" if found[2] else "") if found else ""


def plain(term: Mapping[str, Any]) -> Any:
    """A term of OPA's syntax tree as the value that it is."""
    kind, value = term.get("type"), term.get("value")
    if kind in ("array", "set"):
        return [plain(one) for one in value or []]
    if kind == "object":
        return {str(plain(name)): plain(below) for name, below in value or []}
    if kind in ("string", "number", "boolean", "null"):
        return value
    return "…"
