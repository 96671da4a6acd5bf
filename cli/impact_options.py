"""How people write what of the past a report covers, and how much of it may change."""

from __future__ import annotations

import re

from app.core.errors import UsageError

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


def share(text: str, option: str) -> dict[str, int | float]:
    """`max_changed` of a number, `max_percent` of a percentage. Raises `UsageError`, naming the option."""
    if text.isdecimal() and len(text) <= 9:
        return {"max_changed": int(text)}
    match = _PERCENT.fullmatch(text)
    if match is None or float(match[1]) > 100:
        raise UsageError(f"{option} is a number or a percentage such as 2%, not {text!r}")
    return {"max_percent": float(match[1])}
