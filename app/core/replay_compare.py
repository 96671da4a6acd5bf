"""Whether two results are the same, but for what a system's rules keep out of its records.

A mark in a record stands for any value only where a rule of the record's own trust state may have put it, and never
for the outcome: else whoever writes records could have a mark stand for whatever the policy did not say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from app.core.masking import MARK, may_hide

#: The steps to a value that may be masked; None is every member or element.
Path = tuple[str | None, ...]

#: Where the result of an execution's start has its decision.
_DECISION = "decision"


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


def alike(one: str, recorded: str, masked: Sequence[Path] | None = None) -> bool:
    """Whether two JSON texts have the same value, numbers with the same text; but for what is `masked` in the other."""
    try:
        found, kept = exact(one), exact(recorded)
        return _fits(found, kept, masked) if masked is not None else bool(found == kept)
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


def _fits(found: Any, kept: Any, masked: Sequence[Path]) -> bool:
    if not all(masked) and _is_mark(kept):  # a path ends here
        return True
    if isinstance(kept, dict):
        return (
            isinstance(found, dict)
            and found.keys() == kept.keys()
            and all(_fits(found[name], kept[name], _below(masked, name)) for name in kept)
        )
    if isinstance(kept, list):
        below = _below(masked, None)
        return (
            isinstance(found, list)
            and len(found) == len(kept)
            and all(_fits(one, other, below) for one, other in zip(found, kept, strict=True))
        )
    return bool(found == kept)


def _below(masked: Sequence[Path], name: str | None) -> list[Path]:
    """What is left of the paths that lead to a member of this name, or to an element."""
    return [path[1:] for path in masked if path and (path[0] is None or path[0] == name)]


def _is_mark(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(MARK)


def exact(text: str) -> Any:
    """JSON in which numbers keep their text."""
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> tuple[str]:
    return (text,)
