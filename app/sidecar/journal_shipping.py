"""Ships the journal: its statements are signed several at a time, and sent one after the other.

As with batches, whoever does not answer breaks nothing: statements wait on disk. A control plane that refuses one for
what it is breaks the lineage: the lease ends, and comes back when the statement is taken after all.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from app.core.errors import Denied, PlacetError
from app.core.link import Link, TrustChange
from app.core.reason_codes import Reason
from app.sidecar import archived_states
from app.sidecar.breaks import Standing
from app.sidecar.control_plane import NotAccepted
from app.sidecar.doubts import Doubts
from app.sidecar.failures import Failures
from app.sidecar.journal import Final, Journal
from app.sidecar.refusals import Refused
from app.sidecar.statement_signer import Unsigned, raise_failed

CONCERN = "journal"
#: Seconds that a vouch for it holds: until a break is known, as with batches.
VOUCH_HOLDS = math.inf
PART = "journal"

#: What a control plane says of a sidecar whose journal it does not believe.
BREAKS = frozenset(
    {
        Reason.LINK_MALFORMED,
        Reason.LINK_INVALID,
        Reason.LINK_GAP,
        Reason.LINK_FORK,
        Reason.LINEAGE_BROKEN,
        Reason.SIDECAR_EVICTED,
    }
)

#: Statements that are signed at the same time, or wait signed.
AT_ONCE = 16
_IDLE = 0.2


class Signs(Protocol):
    """Signs statements."""

    def begin(self, unsigned: Unsigned) -> Future[bytes]:
        """Sign one in a thread of its own."""


class Ships(Protocol):
    """The control plane."""

    def ship_link(self, evidence: bytes) -> int:
        """Send a signed statement. Returns the number of the one that follows."""

    def put_state(self, digest: str, document: bytes) -> None:
        """Have a trust state kept."""


class JournalShipping:
    """Ships the journal of one sidecar."""

    def __init__(
        self,
        journal: Journal,
        signer: Signs,
        plane: Ships,
        doubts: Doubts,
        failures: Failures,
        states: Path,
        broken: Path,
    ) -> None:
        """`states`: the archive of trust states. `broken`: the file that keeps a break."""
        self._journal = journal
        self._signer = signer
        self._plane = plane
        self._failures = failures
        self._states = states
        self._lock = threading.Lock()
        self._standing = Standing(broken, BREAKS, CONCERN, PART, doubts, failures)
        self._signing: dict[int, Future[bytes]] = {}
        self._acknowledged = 0
        #: Why this sidecar cannot write its journal, if it cannot.
        self.unwritten: Denied | None = None

    def step(self) -> float:
        """Do what can be done now. Returns the seconds until the next time."""
        with self._lock:
            self._journal.finalise()
            self._journal.prune()
            self.vouch()
            try:
                waiting = self._journal.waiting(AT_ONCE)
                self._sign(waiting)
                shipped = self._standing.may_try() and self._ship_first(waiting)
            except NotAccepted as refusal:
                self._refused(refusal)
                return _IDLE
            except PlacetError as error:
                self._standing.wait(error)
                return _IDLE
            return 0.0 if shipped else _IDLE

    def finish(self, seconds: float) -> None:
        """Ship what is left when the agent ends, within so many seconds. Raises `PlacetError` for what is not."""
        deadline = time.monotonic() + seconds
        wait = self.step()
        while (left := self._journal.counts()["waiting"]) and not self._standing.broken and time.monotonic() < deadline:
            time.sleep(min(wait, 0.05))
            wait = self.step()
        if left:
            raise PlacetError(f"{left} statements are not shipped: {self._standing.trouble or 'no time is left'}")

    def describe(self) -> dict[str, Any]:
        """How the journal stands, for the local status."""
        return {**self._journal.counts(), "acknowledged": self._acknowledged, "trouble": self._standing.trouble}

    @property
    def refused(self) -> Refused | None:
        """Why the control plane takes no statements of this sidecar, if it takes none."""
        return self._standing.refusals.standing

    def vouch(self) -> None:
        """Not while a break stands, or while the journal cannot be written."""
        self._standing.vouch(self.unwritten)

    def _sign(self, waiting: list[Final]) -> None:
        """Begin to sign what waits. Raises what went wrong with one that was being signed."""
        raise_failed(self._signing)
        for final in waiting:
            if not self._standing.may_try():
                return
            if final.number not in self._signing:
                link = Link.read(final.statement)
                unsigned = Unsigned(final.statement, link.subject[0].digest, link.sidecar)
                self._signing[final.number] = self._signer.begin(unsigned)

    def _ship_first(self, waiting: list[Final]) -> bool:
        """Ship the oldest statement if it is signed. The control plane takes them in order only."""
        future = self._signing.get(waiting[0].number) if waiting else None
        if future is None or not future.done():
            return False
        number, says = waiting[0].number, Link.read(waiting[0].statement)
        if isinstance(says, TrustChange):
            self._ship_state(says.new)
        held = self._plane.ship_link(future.result())
        if held <= number:
            raise NotAccepted(f"the control plane waits for statement {held}, and {number} was sent")
        self._standing.heal()
        self._journal.acknowledge(number)
        del self._signing[number]
        self._acknowledged += 1
        self._standing.went_well()
        self.vouch()
        return True

    def _ship_state(self, digest: str) -> None:
        """What a change is to is kept, so that one can see later what it was."""
        if (document := archived_states.read(self._states, digest)) is not None:
            self._plane.put_state(digest, document)
        else:
            path = archived_states.path_of(self._states, digest)
            self._failures.tell("states", f"{path} is lost: nobody can look at this trust state any more")

    def _refused(self, refusal: NotAccepted) -> None:
        if not self._standing.is_break(refusal):
            self._standing.wait(refusal)
            return
        if refusal.reason == Reason.LINK_INVALID and self._signing:
            self._signing.pop(min(self._signing), None)  # the same statement gets another signature
        self._standing.note_break(refusal)
        self.vouch()
