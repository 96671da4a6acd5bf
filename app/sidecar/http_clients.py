"""HTTP clients that threads share by turns: httpx's own pool of connections now and then fails between threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import httpx


class Clients:
    """As many clients as were ever needed at once; each is used by one thread at a time."""

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self._make = make
        self._idle: list[httpx.Client] = []
        self._closed = False

    @contextlib.contextmanager
    def borrow(self) -> Iterator[httpx.Client]:
        """A client for this thread alone. What is borrowed while the rest is closed is closed when it comes back."""
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._make()
        try:
            yield client
        finally:
            self._idle.append(client)
            if self._closed:
                self.close()

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()
