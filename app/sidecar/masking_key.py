"""The key under which values are hashed that a system's rules keep out of its records.

It is made once, stays in the sidecar's private directory, and reaches OPA with the lease: outside of the trust state,
which is archived, so that nobody who reads records can try out what a digest stands for.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.core.errors import PlacetError
from app.core.files import warn_if_open, write_atomically


class MaskingKey:
    """One sidecar's key: 256 random bits, in hexadecimal."""

    def __init__(self, path: Path) -> None:
        """`path`: the file that holds it, made when it is first needed with mode 0600."""
        self._path = path
        self._key: str | None = None

    def beside(self, trust: Mapping[str, Any]) -> dict[str, str]:
        """What stands beside this trust state in OPA: the key, where a rule hashes. Raises `PlacetError`."""
        masking = trust.get("masking") or {}
        if not any(rule["how"] == "hash" for rules in masking.values() for rule in rules):
            return {}
        return {"masking_key": self._read()}

    def _read(self) -> str:
        if self._key is None:
            if not self._path.exists():
                write_atomically(self._path, secrets.token_hex(32).encode(), mode=0o600)
            warn_if_open(self._path, "the key of masked values")
            found = self._path.read_text(errors="replace").strip()
            if not re.fullmatch("[0-9a-f]{64}", found):
                raise PlacetError(f"{self._path} is damaged; delete it to hash with a new key")
            self._key = found
        return self._key
