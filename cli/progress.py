"""How commands say how far they are: on stderr, and only where it takes long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread, local
from typing import Any, TypeVar

from app.core.complaint import many
from cli.output import messages, say

#: Seconds until progress is shown, and between two lines of it where nobody looks.
_QUIET = 2.0
_BETWEEN_LINES = 10.0
#: Seconds after which items are counted aloud, and between two such lines.
_PATIENCE = 2.0

#: Of each thread, whether it is within `busy`.
_told = local()

T = TypeVar("T")


class Shown:
    """Shows how far it is: moving in a terminal, else a line now and then."""

    def __init__(self, before: str = "") -> None:
        """`before`: how a line begins, of which the one in a terminal needs nothing."""
        self._before = before
        self._stack = ExitStack()
        self._begun = self._last = time.monotonic()
        self._status: Any = None

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, text: str) -> None:
        """It is so far now."""
        now = time.monotonic()
        if now - self._begun < _QUIET:
            return
        if not messages.is_terminal:
            if now - self._last >= (_BETWEEN_LINES if self._status else _QUIET):
                self._last, self._status = now, text
                say(f"{self._before}{text}")
        elif self._status is None:
            self._status = self._stack.enter_context(messages.status(text))
        else:
            self._status.update(text)


def counted(items: Iterator[T], what: str) -> Iterator[T]:
    """The items; now and then it is said how many there were, and how quickly they come."""
    began = told = time.monotonic()
    for number, one in enumerate(items, 1):
        yield one
        now = time.monotonic()
        if now - told > _PATIENCE:
            told = now
            messages.print(f"{many(number, what)}, {number / (now - began):.0f}/s")


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """Says what is being done while the block lasts, where that is long; for work that tells nothing itself.

    Within another one it says nothing: what is done as a whole is said already.
    """
    if getattr(_told, "here", False):
        yield
        return
    done = Event()

    def tell() -> None:
        if not messages.is_terminal:
            silent = _QUIET
            while not done.wait(silent):
                say(f"still {doing}")
                silent = _BETWEEN_LINES
        elif not done.wait(_QUIET):
            with messages.status(doing):
                done.wait()

    teller = Thread(target=tell, daemon=True)
    teller.start()
    _told.here = True
    try:
        yield
    finally:
        _told.here = False
        done.set()
        teller.join()
