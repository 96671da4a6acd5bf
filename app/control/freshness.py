"""Freshness: the TUF timestamp is signed again every few seconds, from which sidecars count their horizon."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from app.control.plane import Plane
from app.control.problems import Problem
from app.control.repository import Published
from app.control.store import first_line
from app.control.store.columns import now

log = logging.getLogger("placet.control")

#: Seconds.
DEFAULT_INTERVAL = 5.0


class Freshness:
    """A thread that keeps the metadata fresh; roles that age are signed again in passing."""

    def __init__(self, plane: Plane, interval: float = DEFAULT_INTERVAL) -> None:
        self._plane = plane
        self._interval = interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="freshness", daemon=True)

    def start(self) -> None:
        """Sign once now, failing if that fails, and then go on in the background."""
        self._plane.republish()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self._renew()
            except (SQLAlchemyError, Problem) as error:
                # Sidecars deny by themselves when this lasts; here it can only be tried again.
                self._plane.metrics.freshness_failures.inc()
                log.warning("cannot sign the TUF timestamp: %s", first_line(error))
            except Exception:  # a thread that ended would try nothing again
                self._plane.metrics.freshness_failures.inc()
                log.exception("signing the TUF timestamp failed; it is tried again")

    def _renew(self) -> None:
        """Sign, unless another process of this control plane did so a moment ago."""
        with self._plane.store.read() as session:
            published = Published.read(session)
        if published and timedelta(0) <= now() - published.issued_at < timedelta(seconds=self._interval / 2):
            return
        with self._plane.publishing():
            pass
