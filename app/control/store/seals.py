"""The key of the seals, and what it makes of rows (`app.control.store.sealing` says of which, and when)."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.control.store import as_stored
from app.core.errors import PlacetError
from app.core.files import read_bounded, write_atomically

#: Rows with a seal of their own, and what that is over. The rest of them follows from what a sidecar signed; of a batch
#: that came unsigned, from the bytes of this SHA-256 or, after an erasure, in this object.
OWN = {
    "batch": ("id", "system", "sidecar", "instance", "file", "first", "last", "sha256", "object", "received_at"),
    "link": ("id", "system", "sidecar", "instance", "number", "received_at"),
}

#: Besides those, decisions, the values of batches and what statements name are made anew of what sidecars signed.
UNSEALED = frozenset({*OWN, "decision", "batch_value", "link_resource", "seal"})

_KEY_BYTES = 32


class Seals:
    """Makes seals with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, file: Path) -> Seals:
        """The key of an initialised directory."""
        anew = f"placet server seal --dir {file.parent}"
        if not file.exists():
            raise PlacetError(f"there is no {file}: restore it from a backup, or make another: {anew}")
        if file.stat().st_mode & 0o077:
            raise PlacetError(
                f"others can read {file}; if that was an oversight: chmod 600 {file}; if not, remove it: {anew}"
            )
        try:
            key = bytes.fromhex(read_bounded(file, 2 * _KEY_BYTES + 1, "the key of the seals").decode("ascii").strip())
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise PlacetError(f"{file} holds no key: restore it from a backup, or remove it and make another: {anew}")
        return cls(key)

    @classmethod
    def make(cls, file: Path) -> Seals:
        """A key of its own, in a file."""
        key = secrets.token_bytes(_KEY_BYTES)
        write_atomically(file, key.hex().encode() + b"\n", mode=0o600)
        return cls(key)

    def own_name(self) -> bytes:
        """What tells this key from others, and tells nothing of it."""
        return hmac.digest(self._key, b"the key of these seals", "sha256")

    def row(self, table: str, row: Mapping[str, Any]) -> bytes:
        """The seal of a row, given as `app.control.store.as_stored` reads it."""
        said = json.dumps([table, {name: as_stored.plain(value) for name, value in row.items()}], sort_keys=True)
        return hmac.digest(self._key, said.encode(), "sha256")

    def own(self, table: str, row: Mapping[str, Any]) -> bytes:
        """The seal of a row that has its own."""
        values = {name: row[name] for name in OWN[table]}
        at = values["received_at"]
        return self.row(table, values | {"received_at": _moment(at) if isinstance(at, datetime) else at})

    def hold(self, table: str, row: Mapping[str, Any]) -> bool:
        """Whether a row that has a seal of its own is as it was written."""
        return row["seal"] is not None and same(row["seal"], self.own(table, row))


def same(stored: Any, made: bytes) -> bool:
    """Whether a seal is this one, whatever the database holds in its place."""
    return hmac.compare_digest(as_stored.as_bytes(stored), made)


def _moment(at: datetime) -> str:
    return as_stored.instant(at if at.tzinfo is None else at.astimezone(UTC))
