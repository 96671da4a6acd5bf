"""Keeps OPA running and watched: the process that the agent started, closed, with a bundle that was verified."""

from __future__ import annotations

import logging
from collections.abc import Callable

from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.sidecar import opa_process
from app.sidecar.config import SidecarConfig
from app.sidecar.doubts import Doubts, boot_seconds
from app.sidecar.opa_api import BundleStatus, OpaUnavailable
from app.sidecar.opa_process import OpaProcess
from app.sidecar.pki import SidecarCA

log = logging.getLogger("placet.sidecar")

CONCERN = "opa"

#: Seconds between two checks, while OPA starts and afterwards.
_STARTING, _WATCHING = 0.05, 1.0
#: Seconds that OPA has to activate its first bundle and listen.
_START_LIMIT = 60.0
#: Seconds before OPA is started again: at first, and at most.
_BACKOFF, _BACKOFF_MAX = 0.5, 30.0


class OpaKeeper:
    """Starts OPA once there is a bundle for it, starts it again when it ends, and vouches for it while it is right."""

    def __init__(
        self,
        config: SidecarConfig,
        opa: Opa,
        ca: SidecarCA,
        bundle_port: int,
        doubts: Doubts,
        started: Callable[[OpaProcess], None],
    ) -> None:
        """`started` is told each new process, before it answers anybody."""
        self._config = config
        self._opa = opa
        self._ca = ca
        self._bundle_port = bundle_port
        self._doubts = doubts
        self._started = started
        self.process: OpaProcess | None = None
        self.status: BundleStatus | None = None
        #: Revisions of verified bundles that OPA may be running now. Empty: nothing to run yet.
        self.acceptable: frozenset[str] = frozenset()
        #: Set when OPA must stay down, and why.
        self.held_down: str | None = None
        self._began = 0.0
        self._next_start = 0.0
        self._backoff = _BACKOFF
        self._ready = False

    def step(self) -> float:
        """Check once; start OPA where it is due. Returns the seconds until the next check."""
        if self.process is None:
            return self._consider_start()
        code = self.process.exit_code()
        if code is not None:
            self._lost(f"OPA ended with code {code}: {opa_process.start_error(self.process)}")
            return _STARTING
        if not self._ready:
            return self._await_ready(self.process)
        self._check(self.process)
        return _WATCHING

    def end(self, reason: str) -> None:
        """End OPA and keep it down until `held_down` is cleared."""
        self.held_down = reason
        if self.process is not None:
            self._lost(reason)

    def shut_down(self) -> None:
        """End OPA, because the agent ends."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _consider_start(self) -> float:
        if self.held_down:
            self._doubts.doubt(CONCERN, Reason.OPA_STOPPED, self.held_down)
        elif not self.acceptable:
            self._doubts.doubt(CONCERN, Reason.OPA_STOPPED, "no verified bundle to run yet")
        elif boot_seconds() >= self._next_start:
            self.process = opa_process.start(self._config, self._opa, self._ca, self._bundle_port)
            self._began = boot_seconds()
            self._ready = False
            self._doubts.doubt(CONCERN, Reason.OPA_STOPPED, "OPA is starting")
            self._started(self.process)
        return _STARTING

    def _await_ready(self, process: OpaProcess) -> float:
        if boot_seconds() - self._began > _START_LIMIT:
            self._lost(f"OPA was not ready within {_START_LIMIT:.0f} s")
            return _STARTING
        try:
            self._check(process)
        except OpaUnavailable:
            return _STARTING
        if not self._ready and self.status and self.status.active_revision in self.acceptable:
            self._ready = True
            self._backoff = _BACKOFF
            log.info("OPA (process %d) runs %s", process.pid, self.status.active_revision)
        return _STARTING

    def _check(self, process: OpaProcess) -> None:
        acceptable = self.acceptable
        self.status = process.api.status()
        if self.status.active_revision not in acceptable:
            found = self.status.active_revision or "no bundle"
            self._doubts.doubt(CONCERN, Reason.OPA_REVISION, f"OPA runs {found}")
        elif not process.api.is_closed():
            self._lost("OPA's API answers without a token")
            self._doubts.doubt(CONCERN, Reason.OPA_API_OPEN, "OPA's API answers without a token")
        else:
            self._doubts.vouch(CONCERN)

    def _lost(self, why: str) -> None:
        log.warning("%s", why)
        self._doubts.doubt(CONCERN, Reason.OPA_STOPPED, why)
        if self.process is not None:
            self.process.kill()
            self.process.api.close()
        self.process = None
        self.status = None
        self._next_start = boot_seconds() + self._backoff
        self._backoff = min(self._backoff * 2, _BACKOFF_MAX)
