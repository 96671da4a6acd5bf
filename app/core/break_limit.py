"""What a system bears of breaks of lineage before they stop a sidecar: none, a number that are open, or one for a time.

What follows a gap or a fork cannot be stored, so there is never a second one to be counted: their limit is a time. And
nothing but what was stored and only casts doubt may go on for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.core.reason_codes import Reason
from app.core.spans import UNITS

#: As people and the API write them; and as the database holds them.
AT_ONCE, NEVER = "at-once", "never"
_WORDS = {AT_ONCE: 1, NEVER: 0}

#: The largest number, and the longest time: as long as batches may wait for their signatures.
MAX_COUNT = 1000
MAX_TIME = timedelta(days=7)
_TIME = re.compile(r"([1-9][0-9]{0,5})([smhd])")

_NUMBER = f"a number from 1 to {MAX_COUNT}"
_LASTING = "a time from 1s to 7d, such as 15m"


@dataclass(frozen=True)
class Kind:
    """What breaks of a kind are told as, and what their limit may be besides at once and a time."""

    reasons: tuple[Reason, ...]
    counted: bool = True
    never: bool = False

    @property
    def forms(self) -> str:
        """How a limit is written."""
        words = [AT_ONCE, *([NEVER] if self.never else []), *([_NUMBER] if self.counted else []), _LASTING]
        return f"{', '.join(words[:-1])}{',' if len(words) > 2 else ''} or {words[-1]}"


#: By the names that people give them. Whatever else breaks a lineage stops its sidecar at once.
KINDS = {
    "clock": Kind((Reason.LINEAGE_CLOCK,), never=True),
    "opa": Kind((Reason.LINEAGE_OPA,), never=True),
    "dropped": Kind((Reason.LINEAGE_DROPPED,), never=True),
    "repeat": Kind((Reason.LINEAGE_REPEAT,)),
    "gap": Kind((Reason.BATCH_GAP, Reason.LINK_GAP), counted=False),
    "fork": Kind((Reason.BATCH_FORK, Reason.LINK_FORK), counted=False),
}
NAMES = "limits are of " + ", ".join(list(KINDS)[:-1]) + f" and {list(KINDS)[-1]}"

#: As the database holds it: a number, 0 for never, or the text of a time.
Stored = int | str


@dataclass(frozen=True)
class Limit:
    """So many open breaks stop a sidecar, 0 for none; or one that is open for so long."""

    count: int = 1
    lasts: timedelta | None = None


def parse(kind: str, given: Any) -> Stored:
    """A limit as it is written, to be stored. Raises `ValueError` that says what it may be."""
    if kind not in KINDS:
        raise ValueError(NAMES)
    form = KINDS[kind]
    if given == AT_ONCE or (given == NEVER and form.never):
        return _WORDS[given]
    if form.counted and type(given) is int and 1 <= given <= MAX_COUNT:
        return given
    if isinstance(given, str) and (lasts := _lasting(given)) is not None and lasts <= MAX_TIME:
        return given
    raise ValueError(f"must be {form.forms}")


def show(limits: Mapping[str, Stored]) -> dict[str, Stored]:
    """The limits of all kinds as they are written."""
    words = {number: word for word, number in _WORDS.items()}
    found = {kind: limits.get(kind, _WORDS[AT_ONCE]) for kind in KINDS}
    return {kind: words.get(limit, limit) if isinstance(limit, int) else limit for kind, limit in found.items()}


def of(limits: Mapping[str, Stored], reason: Reason) -> Limit:
    """What a system that stored these limits bears of breaks that are told as `reason`."""
    kind = next((name for name, one in KINDS.items() if reason in one.reasons), None)
    stored = limits.get(kind, 1) if kind else 1
    if isinstance(stored, int):
        return Limit(stored)
    return Limit(1, _lasting(stored))


def _lasting(text: str) -> timedelta | None:
    match = _TIME.fullmatch(text)
    return match and timedelta(seconds=int(match[1]) * UNITS[match[2]])
