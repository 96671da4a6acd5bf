"""A thread that does one thing again and again. What it throws is logged and told, and never ends the agent."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason

log = logging.getLogger("placet.sidecar")


class Loop:
    """Calls `step` until stopped. `step` returns the seconds to wait before it is called again."""

    def __init__(
        self, name: str, step: Callable[[], float], failed: Callable[[Reason, str], None], *, retry: float = 1.0
    ) -> None:
        """`failed` is told the reason of every exception; `retry`: seconds to wait after one."""
        self._step = step
        self._failed = failed
        self._retry = retry
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Do the next step now."""
        self._wake.set()

    def stop(self, timeout: float = 10.0) -> None:
        """End after the step that runs now; `timeout`: seconds to wait for it."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                wait = self._step()
            except Denied as denied:
                wait = self._fail(denied.reason, denied.detail)
            except PlacetError as error:
                wait = self._fail(Reason.AGENT_FAILED, str(error))
            except Exception as error:
                log.exception("%s failed", self._thread.name)
                wait = self._fail(Reason.AGENT_FAILED, f"{type(error).__name__}: {error}")
            self._wake.wait(wait)

    def _fail(self, reason: Reason, detail: str) -> float:
        self._failed(reason, detail)
        return self._retry
