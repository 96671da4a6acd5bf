"""Which executions ended lately, for the trust state: each is named there until its last token has expired.

There is little room, and no lease where it does not suffice. So each subject has a share: of ends by its own word it
gets no more, and when more of its executions are stopped, the subject itself is quarantined here instead of them.
Those that are stopped at once, for what they rest on, are named with the reason, or not at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar.execution_keys import LIFETIME

#: Seconds that an execution which ended is named in the trust state: its last token's life, and a clock's correction.
NAMED = LIFETIME + 60
#: Bytes of the trust state that those leave free which end by their own word: for the ones that are stopped.
_SPARED = 4096
#: Bytes that are supposed to be there before the first trust state was made.
_UNKNOWN = 64 * 1024
#: Which part of the room one subject may take by ends of its own word, and by executions that are stopped.
_ENDS, _STOPS = 2, 8
#: Which part of it may be taken by those that are stopped at once.
_AT_ONCE = 2
#: Seconds until those are left out whose time is over: each change is another trust state.
_FORGET_EVERY = 60.0

#: An issuer, and the id of a subject.
Owner = tuple[str, str]


class _Ended(NamedTuple):
    """How an execution ended, until when it is named, whose it was, and how it is named."""

    outcome: str
    until: float
    owner: Owner
    how: str


class EndedExecutions:
    """Those of one sidecar. Threads may share it."""

    def __init__(self, room: Callable[[], int]) -> None:
        """`room`: bytes of the trust state for executions that have ended."""
        self._room = room
        self._lock = threading.Lock()
        self._ended: dict[str, _Ended] = {}
        #: Subjects that stand for their executions, and until when.
        self._blocked: dict[Owner, float] = {}
        self._forgot = 0.0

    def named(self) -> dict[str, str]:
        """Executions that ended lately, and how."""
        with self._lock:
            self._forget()
            return {name: one.how for name, one in self._ended.items() if one.owner not in self._blocked}

    def blocked(self) -> dict[str, dict[str, dict[str, str]]]:
        """Subjects of whom too many executions were stopped, by their issuers, as quarantine names them."""
        with self._lock:
            self._forget()
            found: dict[str, dict[str, dict[str, str]]] = {}
            for issuer, subject in self._blocked:
                found.setdefault(issuer, {})[subject] = {"reason": "too many of its executions were stopped"}
            return found

    def outcome(self, execution: str) -> str | None:
        """How an execution ended, if it did lately."""
        with self._lock:
            known = self._ended.get(execution)
        return known.outcome if known else None

    def add(self, execution: str, outcome: str, owner: Owner, until: float | None = None) -> None:
        """Name it from now on."""
        until = time.time() + NAMED if until is None else until
        with self._lock:
            self._ended[execution] = _Ended(outcome, until, owner, outcome)
            if outcome != "stopped":
                return
            room = max(self._room() or _UNKNOWN, _SPARED)
            if owner in self._blocked or self._size(owner, "stopped") > room // _STOPS or self._size() > room:
                self._blocked[owner] = max(until, self._blocked.get(owner, 0.0))

    def stop(self, stopped: Iterable[tuple[str, Reason, Owner, float]]) -> bool:
        """Name many at once: the execution, why it is stopped, whose it is, until when. Or none, and say False."""
        found = {execution: _Ended("stopped", until, owner, str(why)) for execution, why, owner, until in stopped}
        with self._lock:
            added = sum(map(_length, found, found.values()))
            if self._size() + added > (self._room() or _UNKNOWN) // _AT_ONCE:
                return False
            self._ended.update(found)
        return True

    def require_room(self, owner: Owner) -> None:
        """Raise `Denied` while the trust state has no room for another execution that ends by its own word.

        Whatever is stopped is named, by its subject if need be.
        """
        with self._lock:
            size, own = self._size() + _SPARED, self._size(owner)
        if size > self._room() or own > self._room() // _ENDS:
            raise Denied(Reason.LINEAGE_UNAVAILABLE, "too many executions have ended within minutes; try again")

    def _size(self, owner: Owner | None = None, outcome: str | None = None) -> int:
        return sum(
            _length(name, one)
            for name, one in self._ended.items()
            if (one.owner not in self._blocked if owner is None else one.owner == owner)
            and outcome in (None, one.outcome)
        )

    def _forget(self) -> None:
        if time.monotonic() - self._forgot > _FORGET_EVERY:
            now, self._forgot = time.time(), time.monotonic()
            self._ended = {name: one for name, one in self._ended.items() if now < one.until}
            self._blocked = {owner: until for owner, until in self._blocked.items() if now < until}


def _length(name: str, one: _Ended) -> int:
    """Bytes that naming an execution takes in the trust state."""
    return len(name) + len(one.how) + 6


def merged(
    published: Mapping[str, Mapping[str, object]], blocked: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """The subjects that quarantine names: those that were published, and those blocked here."""
    return {issuer: {**blocked.get(issuer, {}), **published.get(issuer, {})} for issuer in {**blocked, **published}}
