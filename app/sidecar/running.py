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
    """An execution that the agent stopped: why, whose it is, and by which trust state, by its digest."""

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
        #: Stopped, and neither kept nor noted yet.
        self._unnoted: dict[str, Reason] = {}
        #: Over without a word, and about to be noted.
        self._abandoned: set[str] = set()
        self._forgot = time.monotonic()

    def open(self) -> None:
        """Read what an earlier agent left. Raises `PlacetError` when it is damaged."""
        is_new = self._file.open()
        with self._lock:
            for one in self._file.load():
                self._held.setdefault(one.execution, {})[one.name] = one
            lost = {execution: reason for execution in self._held if (reason := self._reason(execution))}
            if is_new or (lost and not self._name(lost)):
                self._renew_keys()  # nobody could stop what earlier tokens are for
            self._unnoted = lost

    def hold(self, execution: str, footing: Footing, expires: int, trust: Mapping[str, Any]) -> str:
        """Keep what an execution rests on, before a token is given that expires then; and what the token calls it.

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
            self._file.keep([held])
            self._held.setdefault(execution, {})[name] = held
        return name

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
        with self._lock:
            if trust is self._trust and trust["max_identity_age_seconds"] is None:
                return
            self._trust = trust
            now = time.time()
            lost = {execution: reason for execution in self._held if (reason := self._lost(execution, trust, now))}
            if not lost:
                return
            log.warning("%d executions rest on nothing any more and are stopped", len(lost))
            for execution, reason in lost.items():
                held = self._held[execution]
                held.update({name: replace(one, reason=reason) for name, one in held.items()})
            self._unnoted.update(lost)
            if not self._name(lost):
                log.warning("there is no room for their names: every execution has to be started anew")
                self._renew_keys()

    def noted(self, state: str, sidecar: str) -> None:
        """OPA is about to be given this trust state, by its digest: keep and note who was stopped by it."""
        with self._lock:
            if time.monotonic() - self._forgot > _FORGET_EVERY:
                self._forget(state, sidecar)
                self._forgot = time.monotonic()
            if not self._unnoted:
                return
            try:
                self._file.keep(one for execution in self._unnoted for one in self._held[execution].values())
            except Denied as denied:  # they are denied all the same, and are kept with the next state
                log.warning("who was stopped is not kept yet: %s", denied)
                return
            self._note(self._unnoted, state, sidecar)
            self._unnoted = {}

    def _reason(self, execution: str) -> Reason | None:
        """Why an execution was stopped, if it was."""
        return next((one.reason for one in self._held.get(execution, {}).values() if one.reason), None)

    def _lost(self, execution: str, trust: Mapping[str, Any], now: float) -> Reason | None:
        """Why an execution that nothing has ended so far is to be stopped."""
        held = [one for one in self._held[execution].values() if now < one.expires + NAMED]
        if not held or self._reason(execution) or self._ended.outcome(execution):
            return None
        if execution in trust["quarantine"]["executions"]:
            return Reason.QUARANTINE_EXECUTION
        return next((reason for one in held if (reason := footings.lost(one.footing, trust, now))), None)

    def _name(self, lost: Mapping[str, Reason]) -> bool:
        """Have the trust state name these. Says whether it has room for them."""
        return self._ended.stop(
            (execution, reason, self._owner(execution), self._last(execution) + NAMED)
            for execution, reason in lost.items()
        )

    def _note(self, lost: Mapping[str, Reason], state: str, sidecar: str) -> None:
        if self._journal is not None:
            self._journal.stopped(
                [
                    Stopped(execution, sidecar, reason, self._owner(execution), state)
                    for execution, reason in lost.items()
                ]
            )

    def _forget(self, state: str, sidecar: str) -> None:
        """Those that are over. What nobody ended is noted first."""
        now, left = time.time(), self._journal.left() if self._journal is not None else set()
        over = {execution for execution in self._held if self._is_over(execution, now)} - self._unnoted.keys()
        gone = [
            execution
            for execution in over - left
            if self._journal is None or execution in self._abandoned or self._reason(execution)
        ]
        silent = dict.fromkeys(over - self._abandoned - set(gone) - left, Reason.EXECUTION_EXPIRED)
        self._note(silent, state, sidecar)
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

    def _owner(self, execution: str) -> Owner:
        issuer, subject = next(iter(self._held[execution].values())).footing["subject"]
        return issuer, subject
