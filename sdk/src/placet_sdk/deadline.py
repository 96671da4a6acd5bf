"""One deadline over a whole exchange, for blocking sockets.

httpcore's timeouts start anew with every read: a server that sends a byte now and then would hold its caller for ever.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

from placet_sdk.errors import ConfigurationError

#: Seconds that a timeout may have at most.
MAX_TIMEOUT = 86400

_current = threading.local()


def seconds(timeout: float) -> float:
    """A timeout in seconds, as it is. Raises ConfigurationError for what is none, such as NaN or infinity."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ConfigurationError(f"timeout must be a number of seconds, not {timeout!r}")
    if not math.isfinite(timeout) or timeout > MAX_TIMEOUT:
        raise ConfigurationError(f"timeout must be a number of seconds up to {MAX_TIMEOUT}, not {timeout!r}")
    return timeout


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Let everything that this thread does on sockets of `DeadlineBackend` end by then (monotonic clock, seconds)."""
    _current.deadline = deadline
    try:
        yield
    finally:
        del _current.deadline


def _left() -> float:
    left: float = _current.deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left()))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class DeadlineBackend(httpcore.NetworkBackend):
    """Blocking sockets whose every operation ends by the deadline of `until`."""

    def __init__(self) -> None:
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A TCP connection."""
        return _Stream(self._sockets.connect_tcp(host, port, _left(), local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """A connection to a unix socket."""
        return _Stream(self._sockets.connect_unix_socket(path, _left(), socket_options))
