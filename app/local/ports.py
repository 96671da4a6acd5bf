"""Ports of loopback for what is started here: each is handed out once, to whichever process of the user asks.

A port that the system picks for `bind(0)` and that is closed again may be an outgoing connection's a moment later,
or the next asker's. So these lie below the range that systems pick from, and all askers count on from one number.
"""

from __future__ import annotations

import os
import socket

from app.core.errors import PlacetError
from app.core.file_lock import file_lock
from app.local.tools.cache import cache_directory

LOOPBACK = "127.0.0.1"

#: Linux hands out 32768 to 60999 by itself, others from 49152 on (RFC 6335, section 6).
_FIRST, _LAST = 10_240, 32_767


def free_port() -> int:
    """A port that nobody listens on and that was given to nobody for the last 22,000 calls."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Several such ports, all different. Raises `PlacetError` when there are not enough."""
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with file_lock(directory / "ports.lock", waiting=lambda: None):
        counter = directory / "ports.last"
        last = _number(counter.read_text() if counter.exists() else "")
        found: list[int] = []
        for step in range(1, _LAST - _FIRST + 2):
            if len(found) == count:
                break
            port = _FIRST + (last - _FIRST + step) % (_LAST - _FIRST + 1)
            if _is_free(port):
                found.append(port)
        if len(found) < count:
            raise PlacetError(f"fewer than {count} ports from {_FIRST} to {_LAST} are free")
        counter.write_text(str(found[-1] if found else last))
    return found


def _number(text: str) -> int:
    """Where to count on from; anywhere, when the file says nothing of use: a machine's users begin apart."""
    if text.isdecimal() and _FIRST <= int(text) <= _LAST:
        return int(text)
    return _FIRST + int.from_bytes(os.urandom(4)) % (_LAST - _FIRST)


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
