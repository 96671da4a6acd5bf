"""Sending a question to a sidecar and reading its answer, within a time and a size.

Connections are kept. Nothing comes from the environment, no proxy is asked, and no redirect is followed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpcore

from placet_sdk import codes
from placet_sdk.address import Address
from placet_sdk.connections import Owned, process
from placet_sdk.deadline import DeadlineBackend, seconds, until
from placet_sdk.errors import Doubt

#: Bytes of an answer that are read.
MAX_ANSWER = 1024 * 1024
#: Seconds for which an unused connection is kept.
_KEEP = 60.0
_HEADERS = [("Content-Type", "application/json"), ("Accept", "application/json"), ("User-Agent", "placet-sdk")]
_TROUBLE = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)


class Channel:
    """Blocking. Threads may share it."""

    def __init__(self, address: Address, connections: int) -> None:
        """At most `connections` at once."""
        self._address = address
        self._owned: Owned[httpcore.HTTPConnection, threading.Semaphore] = Owned(
            process, lambda: threading.Semaphore(connections)
        )

    def post(self, path: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """Status and body of the answer. Raises Doubt, at most `timeout` seconds from now."""
        return self._send("POST", path, _HEADERS, body, timeout)

    def get(self, path: str, token: str, timeout: float) -> tuple[int, bytes]:
        """As `post`, for whoever holds this token."""
        return self._send("GET", path, _bearing(token), b"", timeout)

    def _send(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes, timeout: float
    ) -> tuple[int, bytes]:
        url, deadline = self._address.url + path, time.monotonic() + seconds(timeout)
        answer = bytearray()
        try:
            with (
                self._connection(timeout) as connection,
                until(deadline),
                connection.stream(method, url, headers=headers, content=body) as response,
            ):
                for chunk in response.iter_stream():
                    answer += chunk
                    _check_size(answer)
        except _TROUBLE as error:
            raise _unreachable(error, timeout) from error
        _check_time(deadline, timeout)
        return response.status, bytes(answer)

    def close(self) -> None:
        """Close the connections. Afterwards there is no answer any more."""
        for connection in self._owned.close():
            connection.close()

    @contextmanager
    def _connection(self, timeout: float) -> Iterator[httpcore.HTTPConnection]:
        kept = self._owned.get()
        if not kept.slots.acquire(timeout=timeout):
            raise Doubt(codes.SIDECAR_UNREACHABLE, f"every connection was in use for {timeout:g} s")
        try:
            connection, stale = kept.take()
            for one in stale:
                one.close()
            connection = connection or self._connect()
            try:
                yield connection
            finally:
                if not kept.give(connection):
                    connection.close()
        finally:
            kept.slots.release()

    def _connect(self) -> httpcore.HTTPConnection:
        return httpcore.HTTPConnection(
            _origin(self._address),
            ssl_context=self._address.tls,
            keepalive_expiry=_KEEP,
            uds=self._address.socket,
            network_backend=DeadlineBackend(),
        )


class AsyncChannel:
    """For asyncio. Connections are kept within one event loop."""

    def __init__(self, address: Address, connections: int) -> None:
        """At most `connections` at once."""
        self._address = address
        self._owned: Owned[httpcore.AsyncHTTPConnection, asyncio.Semaphore] = Owned(
            lambda: (process(), asyncio.get_running_loop()), lambda: asyncio.Semaphore(connections)
        )

    async def post(self, path: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """As `Channel.post`."""
        return await self._send("POST", path, _HEADERS, body, timeout)

    async def get(self, path: str, token: str, timeout: float) -> tuple[int, bytes]:
        """As `Channel.get`."""
        return await self._send("GET", path, _bearing(token), b"", timeout)

    async def _send(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes, timeout: float
    ) -> tuple[int, bytes]:
        url, deadline = self._address.url + path, time.monotonic() + seconds(timeout)
        answer = bytearray()
        try:
            async with (
                asyncio.timeout(timeout),
                self._connection() as connection,
                connection.stream(method, url, headers=headers, content=body) as response,
            ):
                async for chunk in response.aiter_stream():
                    answer += chunk
                    _check_size(answer)
        except (TimeoutError, *_TROUBLE) as error:
            raise _unreachable(error, timeout) from error
        _check_time(deadline, timeout)
        return response.status, bytes(answer)

    async def close(self) -> None:
        """As `Channel.close`."""
        for connection in self._owned.close():
            await connection.aclose()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpcore.AsyncHTTPConnection]:
        kept = self._owned.get()
        async with kept.slots:
            connection, stale = kept.take()
            for one in stale:
                await one.aclose()
            connection = connection or self._connect()
            try:
                yield connection
            finally:
                if not kept.give(connection):
                    await connection.aclose()

    def _connect(self) -> httpcore.AsyncHTTPConnection:
        return httpcore.AsyncHTTPConnection(
            _origin(self._address), ssl_context=self._address.tls, keepalive_expiry=_KEEP, uds=self._address.socket
        )


def _bearing(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}"), *_HEADERS[1:]]


def _origin(address: Address) -> httpcore.Origin:
    return httpcore.URL(address.url).origin


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
