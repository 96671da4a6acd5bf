"""Whether two results are the same, but for what a system's rules keep out of its records.

OPA writes one text for one value: members sorted, each once, the same escapes, numbers as they came. So texts are
compared; of a masked result the text that OPA would have written with the marks in their places.

A mark in a record stands for any value only where a rule of the record's own trust state may have put it, and never
for the outcome: else whoever writes records could have a mark stand for whatever the policy did not say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from app.core.masking import MARK, may_hide

#: The steps to a value that may be masked; None is every member or element.
Path = tuple[str | None, ...]

#: Where the result of an execution's start has its decision.
_DECISION = "decision"

#: Characters that OPA escapes besides those that JSON must.
_ESCAPED = "<>&\u2028\u2029"


def hidden(trust: Any) -> tuple[Path, ...]:
    """What a trust state's rules may keep out of results. Raises `LookupError`, `TypeError`, `AttributeError`."""
    masking = trust.get("masking")
    return tuple(dict.fromkeys(_hidden(masking["result"]))) if masking is not None else ()


def _hidden(rules: Sequence[Any]) -> Iterator[Path]:
    for rule in rules:
        path = tuple(rule["path"])
        below = path[1:] if path[:1] == (_DECISION,) else path
        if may_hide(list(below)):
            yield path
            # What leads to too many values is replaced whole (`rego/placet/masking_rules.rego`); no outcome with it.
            yield from [path[:1]] if len(below) == len(path) else []


def alike(one: str, recorded: str, masked: Sequence[Path]) -> bool:
    """Whether the recorded text is what OPA wrote, but for what is `masked` in it."""
    try:
        return _written(_filled(exact(one), exact(recorded), masked)) == recorded
    except (ValueError, RecursionError):
        return False


def hides_outcome(recorded: str, masked: Sequence[Path]) -> bool:
    """Whether a whole decision is masked in the result of a start, as it is where a rule leads to too many values."""
    try:
        result = exact(recorded)
    except (ValueError, RecursionError):
        return False
    decision = result.get(_DECISION) if isinstance(result, dict) else None
    return _is_mark(decision) and any(path[0] == _DECISION for path in masked)


def _filled(found: Any, kept: Any, masked: Sequence[Path]) -> Any:
    """What OPA gives now, with the marks of the record where rules may have put them."""
    if not all(masked) and _is_mark(kept):  # a path ends here
        return kept
    if isinstance(found, dict) and isinstance(kept, dict):
        return {name: _filled(value, kept.get(name), _below(masked, name)) for name, value in found.items()}
    if isinstance(found, list) and isinstance(kept, list) and len(found) == len(kept):
        below = _below(masked, None)
        return [_filled(one, other, below) for one, other in zip(found, kept, strict=True)]
    return found


def _below(masked: Sequence[Path], name: str | None) -> list[Path]:
    """What is left of the paths that lead to a member of this name, or to an element."""
    return [path[1:] for path in masked if path and (path[0] is None or path[0] == name)]


def _is_mark(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(MARK)


def exact(text: str) -> Any:
    """JSON in which numbers keep their text."""
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _written(value: Any) -> str:
    """JSON as OPA writes it; what is read from its answer is sorted already."""
    text = msgspec.json.encode(value).decode()
    for one in _ESCAPED:  # which stand in strings alone
        text = text.replace(one, f"\\u{ord(one):04x}")
    return text
