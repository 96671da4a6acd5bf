"""Puts the trust state together: what was published, and what this sidecar has now. Archives each that is new."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.core.errors import Denied
from app.core.governance import sidecar_id
from app.core.reason_codes import Reason
from app.sidecar.environment import Environment
from app.sidecar.execution_keys import ExecutionKeys
from app.sidecar.metadata_watcher import Known
from app.sidecar.modes import Modes, as_trusted
from app.sidecar.opa_api import encoded
from app.sidecar.running import Running
from app.sidecar.trust_state import LOCAL_ROOM, Local, TrustState, compose, room


class TrustKeeper:
    """Gives the trust state of now. Safe to use from several threads."""

    def __init__(
        self,
        states: Path,
        name: str,
        keys: ExecutionKeys,
        modes: Modes,
        environment: Environment | None,
        ended: Callable[[], Mapping[str, str]] = dict,
        blocked: Callable[[], Mapping[str, Mapping[str, Mapping[str, str]]]] = dict,
        running: Running | None = None,
    ) -> None:
        """`states`: the directory of the archive. `name`: the sidecar's. `ended`: executions, and how they did.

        `blocked`: subjects that stand for them, by issuer. `running`: executions that a new state may stop.
        """
        self._states = states
        self._name = name
        self._keys = keys
        self._modes = modes
        self._environment = environment
        self._ended, self._blocked = ended, blocked
        self._running = running
        self._lock = threading.Lock()
        self._made: tuple[object, Local, TrustState] | None = None
        #: Bytes that executions which have ended may take of what OPA takes in one request.
        self.room = 0
        #: Why something that the sidecar has is left out, if it is.
        self.failure: Denied | None = None

    def current(self, known: Known) -> TrustState:
        """The trust state of now. Its digest is the same as long as nothing has changed."""
        self._keys.rotate_when_due()
        with self._lock:
            if self._running:
                self._running.judge(known.published)
            local = self._fitting(self._local(known))
            state = self._composed(known.published, local)
            if self._running:
                self._running.noted(state.digest, local.sidecar)
            return state

    def written(self, state: TrustState) -> None:
        """OPA holds this state now."""
        self._keys.written(state.trust["execution"]["keys"])

    def _composed(self, published: dict[str, Any], local: Local) -> TrustState:
        if self._made and self._made[0] is published and self._made[1] == local:
            return self._made[2]
        state = compose(published, local)
        state.archive(self._states)
        self.room = room(state, local)
        self._made = (published, local, state)
        return state

    def _local(self, known: Known) -> Local:
        return Local(
            sidecar=sidecar_id(known.snapshot.state.domain, known.snapshot.governance.system, self._name),
            execution_keys=self._keys.public(),
            execution_headers=self._keys.headers(),
            results=self._environment.results(time.time()) if self._environment else (),
            modes=as_trusted(self._modes.in_force(time.time_ns())),
            ended=self._ended(),
            blocked=self._blocked(),
        )

    def _fitting(self, local: Local) -> Local:
        """Without modes where they would not fit: they can only widen what is allowed."""
        size = len(encoded({"results": local.results, "modes": local.modes, "keys": local.execution_keys}))
        if size <= LOCAL_ROOM:
            self.failure = None
            return local
        self.failure = Denied(Reason.MODE_INVALID, "the modes in force are larger than OPA takes with the trust state")
        return replace(local, modes=Local(local.sidecar).modes)
