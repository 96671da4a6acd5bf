"""Streams of decisions: so many at a time, of one token fewer, and none for a token that was revoked."""

import asyncio
import contextlib
import gc

import pytest
from starlette.requests import ClientDisconnect

from app.control import tokens
from app.control.api import tail_events
from app.control.decision_filter import Filter
from app.control.problems import Invalid, TooMany, Unavailable
from app.control.tokens import Access, Scope

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def access(name):
    return Access(name, name, frozenset({Scope.DECISION_READ}), None)


def begin(plane, name="a", last=None):
    return asyncio.run(tail_events.begin(plane, access(name), Filter(), last))


@pytest.fixture(autouse=True)
def nobody():
    gc.collect()
    assert not tail_events._open


def test_streams_count_from_their_beginning_and_leave_surely(plane, monkeypatch):
    monkeypatch.setattr(tail_events, "MAX_STREAMS", 3)
    monkeypatch.setattr(tail_events, "MAX_OF_TOKEN", 2)
    streams = [begin(plane), begin(plane)]
    with pytest.raises(TooMany):
        begin(plane)
    with pytest.raises(Invalid):
        begin(plane, "b", "no event")
    streams.append(begin(plane, "b"))
    with pytest.raises(Unavailable):
        begin(plane, "c")
    streams.pop(0)  # nobody has read it
    gc.collect()
    assert tail_events._open == {"a": 1, "b": 1}

    async def broken(_):
        raise OSError

    async def never():
        await asyncio.sleep(60)

    with contextlib.suppress(OSError, ExceptionGroup, ClientDisconnect):
        asyncio.run(streams[0]({"type": "http"}, never, broken))
    assert tail_events._open == {"b": 1}


def test_a_client_that_takes_nothing_is_left(plane, monkeypatch):
    monkeypatch.setattr(tail_events, "LIFETIME", 0.1)
    monkeypatch.setattr(tail_events, "ALIVE", 0.1)

    async def never(*_):
        await asyncio.sleep(60)

    asyncio.run(begin(plane)({"type": "http"}, never, never))
    assert not tail_events._open


def test_a_revoked_token_reads_on_for_less_than_a_minute(plane, monkeypatch):
    assert tail_events.RECALL < 60
    monkeypatch.setattr(tail_events, "RECALL", 0.05)
    monkeypatch.setattr(tail_events, "INTERVAL", 0.02)
    with plane.store.write() as session:
        token, _ = tokens.create(session, None, "reader", [Scope.DECISION_READ])
        held = tokens.recall(session, token.id)

    async def follow():
        stream = await tail_events.begin(plane, held, Filter(), None)
        events = stream.body_iterator
        await anext(events)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(reading := asyncio.ensure_future(anext(events))), 0.3)
        with plane.store.write() as session:
            session.delete(session.get(tokens.ApiToken, held.id))
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(reading, 10)

    asyncio.run(follow())
