"""Background work of the control plane: a thread that does one round after the other until it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from app.control.problems import Problem
from app.control.store import first_line

log = logging.getLogger("placet.control")

#: How the names of all threads of this kind begin, and of those that work for them.
THREADS = "control: "


class Rounds:
    """Whatever one round could not do, or stumbled over, the next one tries: a thread that ended would try nothing."""

    def __init__(
        self,
        name: str,
        interval: float,
        work: Callable[[], bool | None],
        cannot: str,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        """`work` is one round; where it says that there is more to do, the next one comes at once and not after
        `interval` seconds. `cannot` says in the log what it could not do; `failed` is called then.
        """
        self._interval = interval
        self._work, self._cannot, self._failed = work, cannot, failed
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{THREADS}{name}", daemon=True)
        self._more = False

    def start(self, *, at_once: bool = False) -> None:
        """Begin, after the interval or at once."""
        self._more = at_once
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended its round."""
        self.stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.stopping.wait(0 if self._more else self._interval):
            self._more = False
            try:
                self._more = bool(self._work())
            except (SQLAlchemyError, Problem) as error:
                self._failed()
                log.warning("cannot %s: %s", self._cannot, first_line(error))
            except Exception:
                self._failed()
                log.exception("cannot %s; it is tried again", self._cannot)
