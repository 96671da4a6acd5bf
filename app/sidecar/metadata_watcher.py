"""Refreshes the metadata, and vouches for having tried: what was verified holds until its horizon, and no longer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.core.errors import Denied
from app.core.governance import SystemGovernance
from app.core.targets import PublishedState
from app.sidecar.clock import Clock
from app.sidecar.config import SidecarConfig
from app.sidecar.doubts import Doubts, boot_seconds
from app.sidecar.metadata import Repository, Snapshot, Unreachable
from app.sidecar.modes import Modes
from app.sidecar.trust_state import from_published

log = logging.getLogger("placet.sidecar")

CONCERN = "metadata"


@dataclass(frozen=True)
class Known:
    """Verified metadata, the published part of the trust state made from it, and how old it is."""

    snapshot: Snapshot
    published: dict[str, Any]
    #: Age when it was accepted, in seconds, by the wall clock; and when that was, by the boot clock.
    age_then: float
    accepted: float

    def age(self) -> float:
        """Seconds since its signed time of issue, by whichever clock says more: the wall clock can be set back."""
        return max(time.time() - self.snapshot.issued_at, self.age_then + boot_seconds() - self.accepted)

    def left(self) -> float:
        """Seconds until its horizon; negative when that is past."""
        return self.snapshot.pointer.horizon_seconds - self.age()


class MetadataWatcher:
    """Keeps the newest verified metadata."""

    def __init__(
        self,
        config: SidecarConfig,
        repository: Repository,
        clock: Clock,
        doubts: Doubts,
        modes: Modes,
        changed: Callable[[Snapshot], None],
    ) -> None:
        """`changed` is told each snapshot that differs from the one before in more than its time of issue."""
        self._config = config
        self._repository = repository
        self._clock = clock
        self._doubts = doubts
        self._modes = modes
        self._changed = changed
        repository.arrived = self._slow_is_not_hung
        #: The newest verified metadata.
        self.known: Known | None = None
        #: Why the last refresh failed, if it did.
        self.failure: Denied | Unreachable | None = None

    def start_from_cache(self) -> None:
        """Begin with what was verified before this start, if it still verifies."""
        try:
            snapshot = self._repository.cached()
            if snapshot is not None:
                self._accept(snapshot)
        except Denied as denied:
            log.warning("the metadata of the last start is not usable: %s", denied)

    def step(self) -> float:
        """Refresh once. Returns the seconds until the next time."""
        try:
            self._accept(self._repository.refresh())
            self._note(None)
        except (Denied, Unreachable) as failure:
            self._note(failure)
            if self.known is None:
                raise
        # Vouched for even now: an old snapshot ends by its horizon, and a bad one was not accepted.
        self._doubts.vouch(CONCERN)
        return self._config.refresh_interval

    def _slow_is_not_hung(self) -> None:
        """Whoever slows the line must not end the lease any sooner than by cutting it: what is known has a horizon."""
        self._doubts.prolong(CONCERN)

    def _accept(self, snapshot: Snapshot) -> None:
        self._clock.compare(snapshot.issued_at)
        before = self.known
        if before and before.snapshot == snapshot:
            return
        same = before is not None and _trust(before.snapshot) == _trust(snapshot)
        published = before.published if before and same else from_published(snapshot.state, snapshot.governance)
        self._modes.update(snapshot.governance)
        self.known = Known(snapshot, published, time.time() - snapshot.issued_at, boot_seconds())
        if before is None or before.snapshot.pointer != snapshot.pointer or not same:
            self._changed(snapshot)

    def _note(self, failure: Denied | Unreachable | None) -> None:
        if str(failure) != str(self.failure):
            if failure is None:
                log.info("metadata is fresh again")
            else:
                log.warning("metadata was not refreshed: %s", failure)
        self.failure = failure


def _trust(snapshot: Snapshot) -> tuple[PublishedState, SystemGovernance]:
    return snapshot.state, snapshot.governance
