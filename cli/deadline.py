"""A deadline for a part of a command, wherever it waits then."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from app.core.errors import PlacetError

#: Seconds after which it is said again, if something took it for an error of its own.
_AGAIN = 1.0


class _Late(BaseException):
    """No `Exception`: nobody on the way may take it for an answer."""


@contextmanager
def within(seconds: float, late: PlacetError) -> Iterator[None]:
    """Raise `late` after so long: timeouts of reads count from byte to byte, and bytes can drip."""
    before = signal.signal(signal.SIGALRM, _late)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Late:
        raise late from None
    finally:
        signal.signal(signal.SIGALRM, before)


def _late(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Late
