"""The thread that makes the parts of the database for the weeks to come, and drops those that retention emptied."""

from __future__ import annotations

import logging

from app.control.plane import Plane
from app.control.rounds import Rounds
from app.control.store import partitions
from app.control.store.columns import now

log = logging.getLogger("placet.control")

#: Seconds between two looks.
INTERVAL = 60.0


class Weeks:
    """A background thread. Rows of a week that it could not make lie where they are found, too, until it has."""

    def __init__(self, plane: Plane, interval: float = INTERVAL) -> None:
        self._plane = plane
        self._needed = partitions.are_kept(plane.store.engine)
        self._rounds = Rounds("weeks", interval, self._round, "make the database's parts of the weeks to come")

    def start(self) -> None:
        """Begin, after the interval: the migrations made room for this week."""
        if self._needed:
            self._rounds.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended its round."""
        if self._needed:
            self._rounds.stop()

    def _round(self) -> None:
        with self._plane.store.write() as session:
            done = partitions.keep(session, int(now().timestamp() * 1_000_000_000))
        for one in done:
            log.info("decisions by week: %s", one)
