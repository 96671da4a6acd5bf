"""Ships decision batches: cut, noted, signed several at a time, and sent one after the other.

Whatever does not answer is no break: batches wait on disk, and beyond a window the records themselves. A control
plane that refuses a batch for what it is breaks the lineage: the lease ends, and comes back when the batch is taken
after all, because a person cleared the break.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from app.core.complaint import many
from app.core.errors import PlacetError
from app.core.reason_codes import Reason
from app.sidecar import archived_states
from app.sidecar.batch_notes import Batch, Notes
from app.sidecar.batches import Cutter
from app.sidecar.breaks import Standing
from app.sidecar.control_plane import ControlPlane, NotAccepted
from app.sidecar.doubts import Doubts
from app.sidecar.failures import Failures
from app.sidecar.refusals import Refused
from app.sidecar.shipper import Progress
from app.sidecar.statement_signer import StatementSigner, raise_failed

CONCERN = "lineage"
#: Seconds that a vouch for it holds: until a break is known. One shipment over a slow line may last for minutes, and
#: whoever slows it must not end the lease any sooner than by cutting it.
VOUCH_HOLDS = math.inf
PART = "shipping"
#: Where a break is noted, beside the batches of the instance.
BREAK = "break.json"

#: What a control plane says of a sidecar whose records it does not believe.
BREAKS = frozenset(
    {
        Reason.BATCH_MALFORMED,
        Reason.BATCH_INVALID,
        Reason.BATCH_ROOT,
        Reason.BATCH_GAP,
        Reason.BATCH_FORK,
        Reason.LINEAGE_BROKEN,
        Reason.SIDECAR_EVICTED,
    }
)

#: Batches that may wait, noted and unacknowledged. Beyond them records wait in their files, and make fuller batches.
WINDOW = 32
#: Batches that are signed at the same time.
AT_ONCE = 16
_IDLE = 0.2


class SignedShipping:
    """Ships the records of one sidecar in signed batches."""

    def __init__(
        self,
        states: Path,
        notes: Notes,
        cutter: Cutter,
        signer: StatementSigner,
        plane: ControlPlane,
        doubts: Doubts,
        freed: Callable[[Path, int], None],
        failures: Failures,
    ) -> None:
        """`states`: the archive. `freed` is told which file was acknowledged, and up to which offset."""
        self._states = states
        self._notes = notes
        self._cutter = cutter
        self._signer = signer
        self._plane = plane
        self._freed = freed
        self._failures = failures
        self._signing: dict[str, Future[bytes]] = {}
        self._states_held: set[str] = set()
        self._lock = threading.Lock()
        self._standing = Standing(notes.directory / BREAK, BREAKS, CONCERN, PART, doubts, failures)
        self._acknowledged = 0

    def open(self) -> None:
        """Read what an earlier agent left. Raises `PlacetError` when that is damaged."""
        self._notes.load()
        self._cutter.tell_pending()
        self._standing.vouch()

    def step(self, *, ended: bool = False) -> float:
        """Do what can be done now. `ended`: no OPA writes any more. Returns the seconds until the next time."""
        with self._lock:  # two threads would make two batches of one range
            return self._step(ended)

    def _step(self, ended: bool) -> float:
        while len(self._notes.pending) < WINDOW and self._cutter.cut(ended=ended):
            pass
        self._standing.vouch()
        try:
            self._sign()
            shipped = self._standing.may_try() and self._ship_first()
        except NotAccepted as refusal:
            self._refused(refusal)
            return _IDLE
        except PlacetError as error:
            self._standing.wait(error)
            return _IDLE
        self._cutter.delete_finished(ended=ended)
        return 0.0 if shipped else _IDLE

    def finish(self, seconds: float) -> None:
        """Ship what is left when no OPA writes any more, within so many seconds."""
        deadline = time.monotonic() + seconds
        if not self._lock.acquire(timeout=seconds):
            raise PlacetError("the control plane did not answer in time")
        with contextlib.ExitStack() as held:
            held.callback(self._lock.release)
            wait = self._step(ended=True)
            while self._notes.pending and not self._standing.broken and time.monotonic() < deadline:
                time.sleep(min(wait, 0.05))
                wait = self._step(ended=True)
        if self._notes.pending:
            left = many(len(self._notes.pending), "batch", "batches")
            raise PlacetError(f"{left} not shipped: {self._standing.trouble or 'no time is left'}")

    def acknowledged(self, path: Path) -> int:
        """Up to which offset the control plane holds this file."""
        return Progress(path).acknowledged

    def describe(self) -> dict[str, Any]:
        """How the batches stand, for the local status."""
        pending, futures = list(self._notes.pending), list(self._signing.values())
        done = sum(future.done() for future in futures)
        return {
            # Since the start of this agent.
            "acknowledged": self._acknowledged,
            # Noted on disk, and not acknowledged; among them: being signed now, and signed.
            "waiting": len(pending),
            "in_flight": len(futures) - done,
            "signed": done,
            "waiting_since": pending[0].says.closed_at.isoformat() if pending else None,
            "trouble": self._standing.trouble,
        }

    @property
    def refused(self) -> Refused | None:
        """Why the control plane takes no batches of this sidecar, if it takes none."""
        return self._standing.refusals.standing

    def _sign(self) -> None:
        """Begin to sign what waits. Raises what went wrong with a batch that was being signed."""
        raise_failed(self._signing)
        for batch in self._notes.pending:
            in_flight = sum(not future.done() for future in self._signing.values())
            if in_flight >= AT_ONCE or not self._standing.may_try():
                return
            if batch.digest not in self._signing:
                self._signing[batch.digest] = self._signer.begin(batch.to_sign())

    def _ship_first(self) -> bool:
        """Ship the oldest batch if it is signed. The control plane takes them in order only."""
        if not self._notes.pending:
            return False
        batch = self._notes.pending[0]
        future = self._signing.get(batch.digest)
        if future is None or not future.done():
            return False
        for state in batch.says.states:
            self._ship_state(state)
            self._standing.vouch()
        self._plane.ship_batch(batch.says, batch.raw(self._notes.records), batch.salts, future.result())
        self._taken(batch)
        return True

    def _taken(self, batch: Batch) -> None:
        self._standing.heal()
        self._standing.vouch()
        self._notes.acknowledge(batch)
        del self._signing[batch.digest]
        self._acknowledged += 1
        self._standing.went_well()
        self._freed(self._notes.records / batch.says.file, batch.says.last_byte)

    def _ship_state(self, digest: str) -> None:
        if digest in self._states_held:
            return
        if (document := archived_states.read(self._states, digest)) is not None:
            self._plane.put_state(digest, document)
        else:
            path = archived_states.path_of(self._states, digest)
            self._failures.tell("states", f"{path} is lost: decisions under this trust state cannot be replayed")
        self._states_held.add(digest)

    def _refused(self, refusal: NotAccepted) -> None:
        if not self._standing.is_break(refusal):
            self._standing.wait(refusal)
            return
        if refusal.reason == Reason.BATCH_INVALID:
            self._signing.pop(self._notes.pending[0].digest, None)  # the same statement gets another signature
        self._standing.note_break(refusal)
        self._standing.vouch()
