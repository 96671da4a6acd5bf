"""How often somebody may ask: token buckets in this process's memory, bounded in number."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict

from app.control.problems import TooMany

#: Askers that are remembered; the one not heard of for longest is forgotten first.
_REMEMBERED = 10_000


class Rate:
    """`per_second` on average, `burst` at once, for each asker. Thread-safe."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, asker: str) -> float:
        """Take one. Returns 0 when it was there, else the seconds after which to ask again."""
        with self._lock:
            at = time.monotonic()
            left, since = self._left.pop(asker, (float(self._burst), at))
            left = min(self._burst, left + (at - since) * self._per_second)
            allowed = left >= 1
            self._left[asker] = (left - 1 if allowed else left, at)
            if len(self._left) > _REMEMBERED:
                self._left.popitem(last=False)
            return 0.0 if allowed else (1 - left) / self._per_second

    def require(self, asker: str, what: str) -> None:
        """Take one. Raises `TooMany` when there is none: `what` says of what there were too many."""
        if seconds := self.wait(asker):
            raise TooMany(f"too many {what}; wait {math.ceil(seconds)} s")
