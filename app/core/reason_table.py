"""The table of reason codes at run time: each code's message, as the governance library says it too."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from app.core.reason_codes import Reason


def message(reason: Reason) -> str:
    """What a denial with this code says, in one sentence."""
    return _messages()[str(reason)]


@cache
def _messages() -> dict[str, str]:
    table = json.loads(Path(__file__).with_name("reasons.json").read_bytes())
    return {row["code"]: row["message"] for row in table}
