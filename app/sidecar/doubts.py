"""What speaks against renewing the lease.

Several watchers look after one concern each. A watcher vouches for its concern, for a short while, or doubts it
with a reason. No vouch, or one that is too old, is a doubt too: a watcher that hangs, or a whole agent that was
paused and goes on, cannot keep a lease alive with what it knew before.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.core.reason_codes import Reason


@dataclass(frozen=True)
class Doubt:
    """One reason not to renew the lease."""

    concern: str
    reason: Reason
    detail: str


def boot_seconds() -> float:
    """Seconds since boot, counting suspended time: the clock that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Doubts:
    """The concerns of one agent. Safe to use from several threads."""

    def __init__(self, limits: dict[str, float], changed: Callable[[], None]) -> None:
        """`limits`: for each concern, for how many seconds a vouch holds. `changed` is called on a new doubt."""
        self._limits = limits
        self._changed = changed
        self._lock = threading.Lock()
        self._vouched: dict[str, float] = {}
        #: What becomes of a vouch, and when.
        self._ends: dict[str, tuple[float, Doubt]] = {}
        self._raised: dict[str, Doubt] = {
            concern: Doubt(concern, Reason.AGENT_PAUSED, "not checked yet") for concern in limits
        }

    def vouch(self, concern: str, until: float = math.inf, then: Doubt | None = None) -> None:
        """The concern was checked just now and is well: until a time of `boot_seconds`, when it becomes this doubt."""
        with self._lock:
            self._vouched[concern] = boot_seconds()
            self._raised.pop(concern, None)
            self._ends.pop(concern, None)
            if then is not None:
                self._ends[concern] = until, then

    def prolong(self, concern: str) -> None:
        """The check of the concern goes on: a vouch that still holds does so for as long again. Ends no doubt."""
        now = boot_seconds()
        with self._lock:
            if concern not in self._raised and now - self._vouched[concern] <= self._limits[concern]:
                self._vouched[concern] = now

    def doubt(self, concern: str, reason: Reason, detail: str) -> None:
        """The concern is not well. Holds until it is vouched for again."""
        with self._lock:
            known = self._raised.get(concern)
            self._raised[concern] = Doubt(concern, reason, detail)
        if known is None or known.reason != reason:
            self._changed()

    def current(self) -> list[Doubt]:
        """Every doubt that stands now; empty means that the lease may be renewed."""
        now = boot_seconds()
        with self._lock:
            standing = []
            for concern, limit in self._limits.items():
                until, then = self._ends.get(concern, (math.inf, None))
                if raised := self._raised.get(concern):
                    standing.append(raised)
                elif then and now >= until:
                    standing.append(then)
                elif now - self._vouched[concern] > limit:
                    age = now - self._vouched[concern]
                    standing.append(Doubt(concern, Reason.AGENT_PAUSED, f"last checked {age:.1f} s ago"))
            return standing

    def left(self) -> float:
        """Seconds until the first vouch becomes a doubt of itself: no lease is to last longer."""
        with self._lock:
            return min((until for until, _ in self._ends.values()), default=math.inf) - boot_seconds()
