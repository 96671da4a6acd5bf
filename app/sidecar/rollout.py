"""From the channel's pointer to the bundle that OPA enforces. Whatever fails on the way leaves the last good one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from app.core.errors import Denied, PlacetError, TooSlow
from app.core.files import write_atomically
from app.core.reason_codes import Reason
from app.core.targets import ChannelPointer
from app.sidecar.bundle_server import BundleServer
from app.sidecar.doubts import boot_seconds
from app.sidecar.metadata import Repository
from app.sidecar.opa_api import BundleStatus, OpaUnavailable
from app.sidecar.opa_keeper import OpaKeeper
from app.sidecar.releases import Prepared, Releases

log = logging.getLogger("placet.sidecar")

_IDLE, _WAITING = 0.5, 0.05
#: Seconds that OPA has to activate a bundle that it was offered.
_ACTIVATION_LIMIT = 60.0
#: Seconds until a release that was too slow here is tried again: at first, and at most. Each trial doubles them.
_AGAIN, _AGAIN_AT_MOST = 5.0, 300.0


class Rollout:
    """Brings one release after another into force."""

    def __init__(
        self,
        releases: Releases,
        repository: Repository,
        server: BundleServer,
        keeper: OpaKeeper,
        enforced: Path,
        told: Callable[[Prepared], None] = lambda prepared: None,
    ) -> None:
        """`enforced`: the file that keeps the last pointer in force, for a start beside a bad new release.

        `told` hears of each release that OPA enforces.
        """
        self._releases = releases
        self._repository = repository
        self._server = server
        self._keeper = keeper
        self._enforced_file = enforced
        self._told = told
        #: The pointer that the metadata names now.
        self.wanted: ChannelPointer | None = None
        #: What OPA enforces.
        self.enforced: Prepared | None = None
        #: Why the wanted release is not enforced, if it is not.
        self.failure: Denied | None = None
        self._refused: ChannelPointer | None = None
        #: The files of the refused release as they were described when it was refused.
        self._refused_files: tuple[str | None, ...] = ()
        #: When the refused release is tried again (since boot), if it was too slow, and how long that wait is.
        self._again_at: float | None = None
        self._wait = _AGAIN
        self._pending: Prepared | None = None
        self._offered_at = 0.0

    def step(self) -> float:
        """Do what is due. Returns the seconds until the next step."""
        if self._pending is not None:
            self._await_activation(self._pending)
            return _WAITING
        wanted = self.wanted
        if wanted is None or self._stays_refused(wanted) or (self.enforced and self.enforced.pointer == wanted):
            return _IDLE
        if self.enforced and self.enforced.pointer.release == wanted.release:
            self._enforce(Prepared(wanted, self.enforced.release, self.enforced.composed))
            return _IDLE
        try:
            self._offer(self._releases.prepare(wanted, self._repository.download))
        except Denied as denied:
            self._refuse(wanted, denied)
            self._fall_back()
        except PlacetError:
            self._fall_back()
            raise  # nothing is known against the release: it is tried again
        return _WAITING

    def _offer(self, prepared: Prepared) -> None:
        self._pending = prepared
        self._offered_at = boot_seconds()
        self._keeper.acceptable |= {prepared.composed.revision}
        self._server.offer(prepared.composed)
        log.info("offered %s (sequence %d) to OPA", prepared.release.digest, prepared.pointer.sequence)

    def _await_activation(self, prepared: Prepared) -> None:
        status = self._asked()
        if status and status.active_revision == prepared.composed.revision:
            self._pending = None
            self._keeper.acceptable = frozenset({prepared.composed.revision})
            self._enforce(prepared)
        elif self.enforced and status and status.error:
            self._withdraw(prepared, Denied(Reason.ACTIVATION_FAILED, status.error))
        elif boot_seconds() - self._offered_at > _ACTIVATION_LIMIT:
            why = f"OPA did not activate it within {_ACTIVATION_LIMIT:.0f} s"
            self._withdraw(prepared, TooSlow(Reason.ACTIVATION_FAILED, why))

    def _asked(self) -> BundleStatus | None:
        """What OPA says now: what the keeper saw last may be from before the offer. None while OPA is starting."""
        process = self._keeper.process
        try:
            return process.api.status() if process is not None else None
        except OpaUnavailable:
            return None

    def _withdraw(self, prepared: Prepared, denied: Denied) -> None:
        """OPA kept the last good bundle; offer that again, so that a restart of OPA gets it too."""
        self._pending = None
        if self.enforced:
            self._server.offer(self.enforced.composed)
            self._keeper.acceptable = frozenset({self.enforced.composed.revision})
        self._refuse(prepared.pointer, denied)

    def _enforce(self, prepared: Prepared) -> None:
        self.enforced = prepared
        if prepared.pointer == self.wanted:
            self.failure = None
        write_atomically(self._enforced_file, prepared.pointer.encode(), mode=0o600)
        self._repository.forget_releases(but={prepared.pointer.release, (self.wanted or prepared.pointer).release})
        self._told(prepared)
        log.info("enforcing %s (sequence %d)", prepared.release.digest, prepared.pointer.sequence)

    def _refuse(self, pointer: ChannelPointer, denied: Denied) -> None:
        self._wait = min(2 * self._wait, _AGAIN_AT_MOST) if pointer == self._refused else _AGAIN
        # What arrived in place of its files says nothing of the release: another copy may be whole.
        passes = isinstance(denied, TooSlow) or denied.reason == Reason.METADATA_INVALID
        self._again_at = boot_seconds() + self._wait if passes else None
        self._refused, self._refused_files = pointer, self._repository.described(pointer.release)
        self.failure = denied
        log.error("refused %s (sequence %d): %s", pointer.release, pointer.sequence, denied)

    def _stays_refused(self, pointer: ChannelPointer) -> bool:
        """What was too slow may have met a busy host, so it is tried again. So is what got other evidence since; no
        other fact about a release changes.
        """
        if pointer != self._refused or self._refused_files != self._repository.described(pointer.release):
            return False
        return self._again_at is None or boot_seconds() < self._again_at

    def _fall_back(self) -> None:
        """On a start beside a bad release: what was in force before, verified again."""
        if self.enforced or self._pending or not self._enforced_file.exists():
            return
        last = ChannelPointer.model_validate_json(self._enforced_file.read_bytes())
        if last != self._refused:
            self._offer(self._releases.prepare(last, self._repository.stored))
