"""Sending a question to a sidecar and reading its answer, within a time and a size.

Connections are kept. Nothing comes from the environment, no proxy is asked, and no redirect is followed.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import httpcore

from placet_sdk import codes
from placet_sdk.address import Address
from placet_sdk.deadline import DeadlineBackend, until
from placet_sdk.errors import Doubt

#: Bytes of an answer that are read.
MAX_ANSWER = 1024 * 1024
#: Seconds for which an unused connection is kept.
_KEEP = 60.0
_HEADERS = [("Content-Type", "application/json"), ("Accept", "application/json"), ("User-Agent", "placet-sdk")]

_Pool = TypeVar("_Pool")


class _Connections(Generic[_Pool]):
    """A pool of connections for one owner: a process, or an event loop in it.

    A forked child gets a pool of its own: on a shared connection, answers would reach the wrong process.
    """

    def __init__(self, make: Callable[[], _Pool], owner: Callable[[], object]) -> None:
        self._make = make
        self._owner_now = owner
        self._lock = threading.Lock()
        self._closed = False
        self._pool: _Pool | None = None
        self._owner: object = None

    def get(self) -> _Pool:
        """The pool of whoever calls. Raises Doubt once it was taken away."""
        with self._lock:
            if self._closed:
                raise Doubt(codes.SIDECAR_UNREACHABLE, "the client is closed")
            owner = self._owner_now()
            if self._pool is None or self._owner != owner:
                self._pool, self._owner = self._make(), owner
            return self._pool

    def take(self) -> _Pool | None:
        """The caller's pool, to be closed; from now on there is none."""
        with self._lock:
            pool, self._pool, self._closed = self._pool, None, True
            return pool if self._owner == self._owner_now() else None


class Channel:
    """Blocking. Threads may share it."""

    def __init__(self, address: Address, connections: int) -> None:
        self._address = address
        self._connections = _Connections(
            lambda: httpcore.ConnectionPool(
                ssl_context=address.tls,
                max_connections=connections,
                keepalive_expiry=_KEEP,
                uds=address.socket,
                network_backend=DeadlineBackend(),
            ),
            owner=lambda: os.getpid(),
        )

    def post(self, path: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """Status and body of the answer. Raises Doubt, at most `timeout` seconds from now."""
        pool, url, deadline = self._connections.get(), self._address.url + path, time.monotonic() + timeout
        answer = bytearray()
        try:
            with (
                until(deadline),
                pool.stream("POST", url, headers=_HEADERS, content=body, extensions=_wait(timeout)) as response,
            ):
                for chunk in response.iter_stream():
                    answer += chunk
                    _check_size(answer)
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise _unreachable(error, timeout) from error
        _check_time(deadline, timeout)
        return response.status, bytes(answer)

    def close(self) -> None:
        """Close the connections. Afterwards there is no answer any more."""
        pool = self._connections.take()
        if pool is not None:
            pool.close()


class AsyncChannel:
    """For asyncio. Connections are kept within one event loop."""

    def __init__(self, address: Address, connections: int) -> None:
        self._address = address
        self._connections = _Connections(
            lambda: httpcore.AsyncConnectionPool(
                ssl_context=address.tls,
                max_connections=connections,
                keepalive_expiry=_KEEP,
                uds=address.socket,
            ),
            owner=lambda: (os.getpid(), asyncio.get_running_loop()),
        )

    async def post(self, path: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """As `Channel.post`."""
        pool, url, deadline = self._connections.get(), self._address.url + path, time.monotonic() + timeout
        answer = bytearray()
        try:
            async with (
                asyncio.timeout(timeout),
                pool.stream("POST", url, headers=_HEADERS, content=body, extensions=_wait(timeout)) as response,
            ):
                async for chunk in response.aiter_stream():
                    answer += chunk
                    _check_size(answer)
        except (TimeoutError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise _unreachable(error, timeout) from error
        _check_time(deadline, timeout)
        return response.status, bytes(answer)

    async def close(self) -> None:
        """As `Channel.close`."""
        pool = self._connections.take()
        if pool is not None:
            await pool.aclose()


def _wait(timeout: float) -> dict[str, dict[str, float]]:
    return {"timeout": {"pool": timeout, "connect": timeout, "read": timeout, "write": timeout}}


def _check_size(answer: bytearray) -> None:
    if len(answer) > MAX_ANSWER:
        raise Doubt(codes.DECISION_MALFORMED, f"an answer of more than {MAX_ANSWER} bytes")


def _check_time(deadline: float, timeout: float) -> None:
    """What was asked before a long pause of this process says nothing about now."""
    if time.monotonic() > deadline:
        raise Doubt(codes.SIDECAR_UNREACHABLE, f"no answer within {timeout:g} s")


def _unreachable(error: Exception, timeout: float) -> Doubt:
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return Doubt(codes.SIDECAR_UNREACHABLE, f"no answer within {timeout:g} s")
    return Doubt(codes.SIDECAR_UNREACHABLE, f"{type(error).__name__}: {error}"[:300])
