"""Decisions as server-sent events (HTML Living Standard, section 9.2)."""

from __future__ import annotations

import json
import re
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator

import anyio
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.control import enrolment, tail, tokens
from app.control.decision_filter import Filter
from app.control.decision_list import listed
from app.control.plane import Plane
from app.control.problems import Invalid, Problem, TooMany, Unauthenticated, Unavailable
from app.control.tail import Tail
from app.control.tokens import Access

#: Seconds between two looks, between two signs of life, and of a stream.
INTERVAL, ALIVE, LIFETIME = 1.0, 15.0, 600.0
#: Streams at a time, and of one token: each asks the database every second.
MAX_STREAMS, MAX_OF_TOKEN = 32, 8
#: Seconds between two looks whether the token still may.
RECALL = 30.0

#: Where a stream began, and how far it has got.
_NAME = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")

#: Streams that are open, by the id of their token.
_open: Counter[str] = Counter()
_lock = threading.Lock()


class Stream(StreamingResponse):
    """One stream, which has its place from when it is made: also one that nobody comes to read gives it back."""

    def __init__(self, token: str) -> None:
        """Raises `Unavailable` and `TooMany` while it has no place."""
        with _lock:
            if _open.total() >= MAX_STREAMS:
                raise Unavailable(f"{MAX_STREAMS} already look on, as many as may; try again later")
            if _open[token] >= MAX_OF_TOKEN:
                raise TooMany(f"{MAX_OF_TOKEN} already look on with this token, as many as may; try again later")
            _open[token] += 1
        self.leave = weakref.finalize(self, _leave, token)
        super().__init__((), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, for a time that ends also when nobody takes what is sent."""
        try:
            with anyio.move_on_after(LIFETIME + ALIVE):
                await super().__call__(scope, receive, send)
        finally:
            self.leave()


async def begin(plane: Plane, access: Access, wanted: Filter, last: str | None) -> Stream:
    """What arrives from now on, or after the event `last`. Raises `Invalid`, `Unavailable`, `TooMany`."""
    stream = Stream(access.id)
    try:
        stream.body_iterator = _events(plane, access, await _follower(plane, wanted, last))
    except BaseException:
        stream.leave()
        raise
    return stream


async def _follower(plane: Plane, wanted: Filter, last: str | None) -> Tail:
    if not last:
        return Tail(wanted, await run_in_threadpool(_newest, plane))
    numbers = _NAME.fullmatch(last)
    if numbers is None:
        raise Invalid("Last-Event-ID is not one of these events")
    return Tail(wanted, int(numbers[1]), int(numbers[2]))


async def _events(plane: Plane, access: Access, follower: Tail) -> AsyncIterator[str]:
    begun = alive = recalled = time.monotonic()
    yield f": decisions from now on\nid: {follower.begin}-{follower.newest}\n\n"
    while time.monotonic() - begun < LIFETIME:
        try:
            if time.monotonic() - recalled > RECALL:
                await run_in_threadpool(_require_still, plane, access)
                recalled = time.monotonic()
            found = await run_in_threadpool(_look, plane, follower)
        except (SQLAlchemyError, Problem):
            return  # the client asks again, and hears what is wrong
        for event in found:
            yield event
        if found or time.monotonic() - alive > ALIVE:
            alive = time.monotonic()
            yield ": alive\n\n"
        await anyio.sleep(INTERVAL)


def _leave(token: str) -> None:
    with _lock:
        _open[token] -= 1
        if not _open[token]:
            del _open[token]


def _require_still(plane: Plane, access: Access) -> None:
    """Raise `Problem` once the token may not read these decisions any more: it was revoked, or its sidecar evicted."""
    with plane.store.read() as session:
        now = tokens.recall(session, access.id)
        if now is None or not now.may(tokens.Scope.DECISION_READ) or now.system != access.system:
            raise Unauthenticated("the token was revoked")
        if now.system is not None and now.sidecar is not None:
            enrolment.require_admitted(session, now.system, now.sidecar)


def _newest(plane: Plane) -> int:
    with plane.store.read() as session:
        return tail.newest(session)


def _look(plane: Plane, follower: Tail) -> list[str]:
    with plane.store.read() as session:
        found = [listed(one) for one in follower.look(session, plane.objects)]
    # Only the last of a look names where to go on: a stream that breaks before it says them again.
    events = [f"data: {json.dumps(one)}\n\n" for one in found]
    return [*events[:-1], f"id: {follower.begin}-{follower.newest}\n{events[-1]}"] if events else []
