"""The lease: the short-lived state in OPA without which every decision is a denial.

Several times within its TTL the agent asks itself whether anything speaks against it. If nothing does, the lease is
renewed. If anything does, the lease is taken away at once; and if the agent cannot even do that, it runs out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar.clock import Clock
from app.sidecar.config import SidecarConfig
from app.sidecar.doubts import Doubt, Doubts
from app.sidecar.masking_key import MaskingKey
from app.sidecar.metadata_watcher import Known
from app.sidecar.opa_api import OpaApi, OpaUnavailable
from app.sidecar.own_links import OwnLinks, Unnoted
from app.sidecar.trust_keeper import TrustKeeper
from app.sidecar.trust_state import TrustState

log = logging.getLogger("placet.sidecar")

#: Seconds before another try when OPA did not take the state, such as while it activates a bundle.
_RETRY = 0.2


class LeaseKeeper:
    """Writes the whole of OPA's state: the lease, if it may be held, and the trust state."""

    def __init__(
        self,
        config: SidecarConfig,
        clock: Clock,
        doubts: Doubts,
        api: Callable[[], OpaApi | None],
        known: Callable[[], Known | None],
        trust: TrustKeeper,
        own_links: OwnLinks | None = None,
    ) -> None:
        """`api`: of the OPA that runs now. `known`: the newest verified metadata. `trust` makes the state of it.

        `own_links`: where states and the lease are noted; None: nowhere.
        """
        self._config = config
        self._clock = clock
        self._doubts = doubts
        self._api = api
        self._known = known
        self._trust = trust
        self._own_links = own_links
        self._masking_key = MaskingKey(config.files.masking_key)
        #: What spoke against the lease at the last check; None before the first.
        self.against: list[Doubt] | None = None
        #: Until when OPA holds a lease, in seconds since the epoch; 0 when it holds none.
        self.valid_until = 0.0
        self._state: TrustState | None = None

    def held(self) -> TrustState | None:
        """The trust state under the lease that OPA holds now; None while it holds none."""
        return self._state if time.time() < self.valid_until else None

    def step(self) -> float:
        """Renew the lease or take it away. Returns the seconds until the next time."""
        issued = time.time_ns()  # read before anything is checked: a pause after the checks shortens the lease
        left = self._doubts.left()
        against = self.doubts()
        if against:
            self._say(against)
        known, api = self._known(), self._api()
        if known is None or api is None:
            self.valid_until = 0.0
            return _RETRY
        until = issued + int(min(self._config.lease_ttl, known.left(), max(left, 0)) * 1e9)
        lease = None if against else {"issued_at_ns": issued, "valid_until_ns": until}
        try:
            self._put(api, known, lease)
        except OpaUnavailable as error:
            if not against and time.time() > self.valid_until:
                self._say([Doubt("state", Reason.OPA_STATE, str(error))])
            return _RETRY
        except Unnoted:
            return _RETRY  # which is a doubt: the next time there is no lease
        self._say(against)
        self.valid_until = 0.0 if against else until / 1e9
        return self._config.renewal

    def withdraw(self) -> None:
        """Take the lease away, because the agent ends."""
        api, known = self._api(), self._known()
        self.valid_until = 0.0
        if self._own_links:
            self._own_links.ended()
        if api is not None and known is not None:
            self._put(api, known, None)

    def _put(self, api: OpaApi, known: Known, lease: dict[str, int] | None) -> None:
        state = self._trust.current(known)
        if self._own_links:
            self._own_links.trust(state, required=lease is not None)
        beside = self._masking_key.beside(state.trust)
        api.put_state({"lease": lease, "trust": state.trust, "digest": state.digest, **beside})
        self._trust.written(state)
        self._state = state

    def doubts(self) -> list[Doubt]:
        """Everything that speaks against a lease now."""
        against = self._doubts.current()
        try:
            self._clock.check()
        except Denied as denied:
            against.append(Doubt("clock", denied.reason, denied.detail))
        known = self._known()
        if known is not None:
            horizon = known.snapshot.pointer.horizon_seconds
            if known.left() <= 0:
                detail = f"issued {known.age():.0f} s ago; the horizon is {horizon} s"
                against.append(Doubt("horizon", Reason.METADATA_STALE, detail))
        return against

    def _say(self, against: list[Doubt]) -> None:
        before = None if self.against is None else {doubt.reason for doubt in self.against}
        self.against = against
        if self._own_links:
            self._own_links.lease(against)
        if before == {doubt.reason for doubt in against}:
            return
        if against:
            log.warning("no lease: %s", "; ".join(f"{doubt.reason} ({doubt.detail})" for doubt in against))
        else:
            log.info("lease held, renewed every %.1f s", self._config.renewal)
