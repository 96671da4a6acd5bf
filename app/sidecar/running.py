"""The executions that run here, each with what it rests on: a trust state that takes that away stops it.

What is stopped is named in the trust state that OPA is given, with the reason, so that decisions pay nothing for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar import footing as footings
from app.sidecar.ended_executions import NAMED, EndedExecutions, Owner
from app.sidecar.footing import Footing
from app.sidecar.running_file import Held, RunningFile

log = logging.getLogger("placet.sidecar")

#: Seconds after which an execution is over whose last token has expired: until then it may be started again.
ABANDONED = 3600
_FORGET_EVERY = 60.0


class Stopped(NamedTuple):
    """An execution that the agent stopped: why, whose it is, and by which trust state, by its digest, if by one."""

    execution: str
    sidecar: str
    reason: Reason
    owner: Owner
    state: str | None


class Journal(Protocol):
    """Where it is noted who was stopped."""

    def stopped(self, stopped: Sequence[Stopped], /) -> None:
        """Note these, soon, where they have not ended yet."""

    def left(self) -> set[str]:
        """Those that are to be noted still."""


class Running:
    """The executions of one sidecar. Threads may share it."""

    def __init__(
        self,
        path: Path,
        ended: EndedExecutions,
        renew_keys: Callable[[], None],
        journal: Journal | None = None,
    ) -> None:
        """`path`: of the file. `renew_keys`: let no token of any execution be good any more.

        `journal`: None: there is none.
        """
        self._file = RunningFile(path)
        self._ended = ended
        self._renew_keys = renew_keys
        self._journal = journal
        self._lock = threading.Lock()
        self._held: dict[str, dict[str, Held]] = {}
        #: The newest published trust state; None before the first one of this start.
        self._trust: Mapping[str, Any] | None = None
        #: The one that all of them were held against.
        self._judged: Mapping[str, Any] | None = None
        #: Stopped, and neither kept nor noted yet.
        self._unnoted: dict[str, Reason] = {}
        #: Over without a word, and about to be noted.
        self._abandoned: set[str] = set()
        self._forgot = time.monotonic()

    def open(self) -> None:
        """Read what an earlier agent left. Raises `PlacetError` when it is damaged."""
        self._file.open(self._renew_keys)  # of a file that is lost nobody could stop what earlier tokens are for
        with self._lock:
            for one in self._file.load():
                self._held.setdefault(one.execution, {})[one.name] = one
            lost = {execution: reason for execution in self._held if (reason := self._reason(execution))}
            if lost and not self._name(lost):
                self._renew_keys()
            self._unnoted = lost

    def hold(
        self,
        execution: str,
        footing: Footing,
        expires: int,
        trust: Mapping[str, Any],
        sign: Callable[[str], str],
    ) -> str:
        """Keep what an execution rests on, and then give its token, which expires then: `sign` hears its name there.

        No state is judged in between: it could have new keys made for want of room, and this one would sign anew.
        Raises `Denied` where it rests on nothing any more, by the newest state, or by `trust` before there was one.
        """
        name = footings.name_of(footing)
        with self._lock:
            if self._reason(execution):
                raise Denied(Reason.EXECUTION_ENDED, "it was stopped")
            reason = footings.lost(footing, self._trust or trust, time.time())
            if reason:
                raise Denied(reason, "what it rests on is trusted no longer")
            known = self._held.get(execution, {}).get(name)
            held = Held(execution, name, footing, max(expires, known.expires if known else 0))
            self._file.keep(held)
            self._held.setdefault(execution, {})[name] = held
            return sign(name)

    def footing(self, execution: str, name: Any) -> Footing:
        """What the token of an execution rests on that calls it so. Raises `Denied`."""
        with self._lock:
            held = self._held.get(execution, {}).get(name)
            reason = self._reason(execution)
        if reason:
            raise Denied(reason, "the execution was stopped")
        if held is None:
            raise Denied(Reason.EXECUTION_INVALID, "what it rests on is not known here")
        return held.footing

    def judge(self, trust: Mapping[str, Any]) -> None:
        """Stop what this published trust state does not admit any more: OPA is about to be given one made of it."""
        now = time.time()
        with self._lock:
            # Of the same state nothing is lost but by age, which is quickly looked at.
            due = self._aged(trust, now) if trust is self._judged else self._held
            self._trust = trust  # who starts from now on is judged by it there
            found = [(execution, list(self._held[execution].values())) for execution in due]
        # Starts do not wait meanwhile: there may be thousands.
        lost = {execution: reason for execution, held in found if (reason := self._lost(execution, held, trust, now))}
        if lost:
            log.warning("%d executions rest on nothing any more and are stopped", len(lost))
            self._stop(lost)
        self._judged = trust

    def noted(self, state: str, sidecar: str) -> None:
        """OPA is about to be given this trust state, by its digest: keep and note who was stopped by it."""
        with self._lock:
            if time.monotonic() - self._forgot > _FORGET_EVERY:
                self._forget(sidecar)
                self._forgot = time.monotonic()
            if not self._unnoted:
                return
            for held in map(self._held.__getitem__, self._unnoted):
                held.update({name: replace(one, state=state) for name, one in held.items() if one.state is None})
            try:
                self._file.stop(one for execution in self._unnoted for one in self._held[execution].values())
            except Denied as denied:  # they are denied all the same, and are kept with the next state
                log.warning("who was stopped is not kept yet: %s", denied)
                return
            self._note(self._unnoted, sidecar)
            self._unnoted = {}

    def _stop(self, lost: Mapping[str, Reason]) -> None:
        with self._lock:
            for execution, reason in lost.items():
                held = self._held[execution]
                held.update({name: replace(one, reason=reason) for name, one in held.items()})
            self._unnoted.update(lost)
            if not self._name(lost):
                log.warning("there is no room for their names: every execution has to be started anew")
                self._renew_keys()

    def _aged(self, trust: Mapping[str, Any], now: float) -> list[str]:
        """Those of which the identity is too old by now."""
        if trust["max_identity_age_seconds"] is None:
            return []
        return [
            execution
            for execution, held in self._held.items()
            if any(footings.is_stale(one.footing, trust, now) for one in held.values())
        ]

    def _reason(self, execution: str) -> Reason | None:
        """Why an execution was stopped, if it was."""
        return next((one.reason for one in self._held.get(execution, {}).values() if one.reason), None)

    def _lost(self, execution: str, held: Sequence[Held], trust: Mapping[str, Any], now: float) -> Reason | None:
        """Why an execution that nothing has ended so far is to be stopped."""
        live = [one for one in held if now < one.expires + NAMED]
        if not live or any(one.reason for one in held) or self._ended.outcome(execution):
            return None
        if execution in trust["quarantine"]["executions"]:
            return Reason.QUARANTINE_EXECUTION
        return next((reason for one in live if (reason := footings.lost(one.footing, trust, now))), None)

    def _name(self, lost: Mapping[str, Reason]) -> bool:
        """Have the trust state name these. Says whether it has room for them."""
        return self._ended.stop(
            (execution, reason, self._owner(execution), self._last(execution) + NAMED)
            for execution, reason in lost.items()
        )

    def _note(self, lost: Mapping[str, Reason], sidecar: str) -> None:
        if self._journal is not None:
            self._journal.stopped(
                [
                    Stopped(execution, sidecar, reason, self._owner(execution), self._state(execution))
                    for execution, reason in lost.items()
                ]
            )

    def _forget(self, sidecar: str) -> None:
        """Those that are over. What nobody ended is noted first."""
        now, left = time.time(), self._journal.left() if self._journal is not None else set()
        over = {execution for execution in self._held if self._is_over(execution, now)} - self._unnoted.keys()
        gone = [
            execution
            for execution in over - left
            if self._journal is None or execution in self._abandoned or self._reason(execution)
        ]
        silent = dict.fromkeys(over - self._abandoned - set(gone) - left, Reason.EXECUTION_EXPIRED)
        self._note(silent, sidecar)
        self._abandoned = (self._abandoned | silent.keys()) - set(gone)
        stale = [
            one
            for execution, held in self._held.items()
            for one in held.values()
            if execution in gone or (one.expires + NAMED < now and one.expires < self._last(execution))
        ]
        if not stale:
            return
        try:
            self._file.forget(stale)
        except Denied as denied:  # kept for a minute longer
            log.warning("executions that are over are kept: %s", denied)
            return
        for one in stale:
            del self._held[one.execution][one.name]
        self._held = {execution: held for execution, held in self._held.items() if held}

    def _is_over(self, execution: str, now: float) -> bool:
        kept = NAMED if self._journal is None or self._reason(execution) else ABANDONED
        return self._last(execution) + kept < now

    def _last(self, execution: str) -> int:
        return max(one.expires for one in self._held[execution].values())

    def _state(self, execution: str) -> str | None:
        """The trust state that stopped it: none did where its time was over, or where that is not known any more."""
        return next((one.state for one in self._held[execution].values() if one.state), None)

    def _owner(self, execution: str) -> Owner:
        issuer, subject = next(iter(self._held[execution].values())).footing["subject"]
        return issuer, subject
