"""Freshness: the TUF timestamp is signed again every few seconds, from which sidecars count their horizon."""

from __future__ import annotations

from datetime import timedelta

from app.control.plane import Plane
from app.control.repository import Published
from app.control.rounds import Rounds
from app.control.store.columns import now

#: Seconds.
DEFAULT_INTERVAL = 5.0


class Freshness:
    """A thread that keeps the metadata fresh; roles that age are signed again in passing."""

    def __init__(self, plane: Plane, interval: float = DEFAULT_INTERVAL) -> None:
        self._plane = plane
        self._interval = interval
        # When it lasts that nothing can be signed, sidecars deny by themselves.
        failed = plane.metrics.freshness_failures.inc
        self._rounds = Rounds("freshness", interval, self._renew, "sign the TUF timestamp", failed)

    def start(self) -> None:
        """Sign once now, failing if that fails, and then go on in the background."""
        self._plane.republish()
        self._rounds.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._rounds.stop()

    def _renew(self) -> None:
        """Sign, unless another process of this control plane did so a moment ago."""
        with self._plane.store.read() as session:
            published = Published.read(session)
        if published and timedelta(0) <= now() - published.issued_at < timedelta(seconds=self._interval / 2):
            return
        with self._plane.publishing():
            pass
