"""The thread that erases: what was ordered at once, what is past its time of retention every few minutes."""

from __future__ import annotations

import time

from app.control import erasing, retention
from app.control.plane import Plane
from app.control.rounds import Rounds

#: Seconds between two looks for orders, and between two looks for what is past its time.
INTERVAL = 2.0
RETENTION_INTERVAL = 300.0


class Erasing:
    """A background thread. What it could not do, it does later."""

    def __init__(self, plane: Plane, interval: float = INTERVAL) -> None:
        self._plane = plane
        self._failed = erasing.Failed()
        self._retained = float("-inf")
        self._rounds = Rounds("erasing", interval, self._round, "erase now")

    def start(self) -> None:
        """Begin, with whatever was left half-way."""
        self._rounds.start(at_once=True)

    def stop(self) -> None:
        """End the thread; returns when it has ended its round."""
        self._rounds.stop()

    def _round(self) -> bool:
        """Whether there is more to do at once."""
        if time.monotonic() - self._retained >= RETENTION_INTERVAL and not retention.step(self._plane):
            self._retained = time.monotonic()
        return erasing.step(self._plane, self._failed) > 0
