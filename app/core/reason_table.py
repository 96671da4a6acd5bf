"""The table of reason codes at run time: each code's message, as the governance library says it too, and its remedy."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from app.core.reason_codes import Reason


def message(reason: Reason) -> str:
    """What a denial with this code says, in one sentence."""
    return _rows()[str(reason)]["message"]


def remedy(reason: Reason) -> str:
    """What to do about it."""
    return _rows()[str(reason)]["remedy"]


@cache
def _rows() -> dict[str, dict[str, str]]:
    table = json.loads(Path(__file__).with_name("reasons.json").read_bytes())
    return {row["code"]: row for row in table}
