"""The thread that erases: what was ordered at once, what is past its time of retention every few minutes."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from app.control import erasing, retention
from app.control.plane import Plane
from app.control.problems import Problem
from app.control.store import first_line

log = logging.getLogger("placet.control")

#: Seconds between two looks for orders, and between two looks for what is past its time.
INTERVAL = 2.0
RETENTION_INTERVAL = 300.0


class Erasing:
    """A background thread. What it could not do, it does later."""

    def __init__(self, plane: Plane, interval: float = INTERVAL) -> None:
        self._plane = plane
        self._interval = interval
        self._failed = erasing.Failed()
        self._stopping = threading.Event()
        self._retained = float("-inf")
        self._thread = threading.Thread(target=self._run, name="erasing", daemon=True)

    def start(self) -> None:
        """Begin, with whatever was left half-way."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended its round."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            busy = False
            try:
                busy = self._round()
            except (SQLAlchemyError, Problem) as error:
                log.warning("cannot erase now: %s", first_line(error))
            except Exception:
                # Whatever one order stumbles over, a thread that ended would erase nothing more, and nobody would see.
                log.exception("an erasure failed; it is tried again")
            self._stopping.wait(0 if busy else self._interval)

    def _round(self) -> bool:
        """Whether there is more to do at once."""
        if time.monotonic() - self._retained >= RETENTION_INTERVAL and not retention.step(self._plane):
            self._retained = time.monotonic()
        return erasing.step(self._plane, self._failed) > 0
