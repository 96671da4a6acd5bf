"""Digests `sha256:…` as the database keeps them: in 33 bytes in the place of 71."""

from __future__ import annotations

import re
from functools import lru_cache

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@lru_cache(maxsize=1024)
def packed_digest(value: str | None) -> bytes | None:
    """The text as a column of `Digest` holds it."""
    if value is None:
        return None
    if _DIGEST.fullmatch(value):
        return b"\x01" + bytes.fromhex(value[7:])
    return b"\x00" + value.encode()


def unpacked_digest(value: bytes) -> str:
    """The text of which the column holds `value`."""
    return f"sha256:{value[1:].hex()}" if value[:1] == b"\x01" else value[1:].decode("utf-8", "replace")
