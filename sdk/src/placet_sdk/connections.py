"""Connections that are kept. Each serves one question at a time, and nobody but its user touches it meanwhile.

httpcore's own pools look at connections that other threads use, and may close one in the middle of an answer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from placet_sdk import codes
from placet_sdk.errors import Doubt


class _Connection(Protocol):
    def is_available(self) -> bool: ...
    def has_expired(self) -> bool: ...


_C = TypeVar("_C", bound=_Connection)
_S = TypeVar("_S")


class Kept(Generic[_C, _S]):
    """The connections of one owner: a process, or an event loop in it. `slots` bounds how many are used at once."""

    def __init__(self, owner: object, slots: _S) -> None:
        self.owner = owner
        self.slots = slots
        self._idle: list[_C] = []
        self._closed = False
        self._lock = threading.Lock()

    def take(self) -> tuple[_C | None, list[_C]]:
        """A connection that was kept, for the caller alone, if there is a good one; and those to be closed."""
        stale: list[_C] = []
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or not connection.has_expired():
                return connection, stale
            stale.append(connection)

    def give(self, connection: _C) -> bool:
        """Keep a connection after use. False if it is to be closed instead."""
        with self._lock:
            if self._closed or not connection.is_available():
                return False
            self._idle.append(connection)
            return True

    def empty(self) -> list[_C]:
        """Keep nothing any more. Gives those to be closed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            return idle


class Owned(Generic[_C, _S]):
    """What is kept, for whoever owns it now.

    A forked child gets connections of its own: on a shared one it would take its parent's answers for its own.
    """

    def __init__(self, owner: Callable[[], object], slots: Callable[[], _S]) -> None:
        self._owner = owner
        self._slots = slots
        self._lock, self._process = threading.Lock(), process()
        self._kept: Kept[_C, _S] | None = None
        self._closed = False

    def get(self) -> Kept[_C, _S]:
        """The connections of whoever calls. Raises Doubt after `close`."""
        if self._process != process():  # a lock that another thread held at the fork would never be released
            self._lock, self._process = threading.Lock(), process()
        owner = self._owner()
        with self._lock:
            if self._closed:
                raise Doubt(codes.SIDECAR_UNREACHABLE, "the client is closed")
            if self._kept is None or self._kept.owner != owner:
                self._kept = Kept(owner, self._slots())
            return self._kept

    def close(self) -> list[_C]:
        """Keep nothing any more. Gives those to be closed: the caller's own."""
        with self._lock:
            kept, self._kept, self._closed = self._kept, None, True
        return kept.empty() if kept is not None and kept.owner == self._owner() else []


def process() -> int:
    """The owner of blocking connections."""
    return os.getpid()
