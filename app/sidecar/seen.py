"""What this sidecar has seen lately: nonces of proofs, and who runs under which execution id."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

import jwt

#: Seconds for which a proof is accepted, by its `iat`, with the skew of clocks; a nonce is remembered longer.
PROOF_LIFE = 60
_REMEMBERED = PROOF_LIFE + 10
#: Entries at most. Beyond it everything is refused until some have expired: doubt denies.
MAX_ENTRIES = 100_000


class _Expiring:
    """A map whose entries end. Not safe by itself."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[Hashable, float]] = {}
        self._swept = 0.0

    def get(self, key: Hashable, now: float) -> Hashable | None:
        value, until = self._entries.get(key, (None, 0.0))
        return value if now < until else None

    def put(self, key: Hashable, value: Hashable, now: float, until: float) -> bool:
        if len(self._entries) >= MAX_ENTRIES and not self._sweep(now):
            return False
        self._entries[key] = (value, until)
        return True

    def _sweep(self, now: float) -> bool:
        if not 0 <= now - self._swept < 1:  # at most once a second: a full map must not cost each caller a pass
            self._entries = {key: entry for key, entry in self._entries.items() if now < entry[1]}
            self._swept = now
        return len(self._entries) < MAX_ENTRIES


class Nonces:
    """The `jti` of each proof that was used. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used = _Expiring()

    def use(self, nonce: str | None, now: float) -> bool:
        """Use a nonce, once. False when it was used before, or there is none."""
        if nonce is None:
            return False
        with self._lock:
            return self._used.get(nonce, now) is None and self._used.put(nonce, True, now, now + _REMEMBERED)


class Executing:
    """Whose each execution is, as long as it may go on. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners = _Expiring()

    def claim(self, execution: str, owner: Hashable, now: float, *, until: float) -> bool:
        """Take an id for `owner`. False when somebody else has it; the same owner may ask again."""
        with self._lock:
            known = self._owners.get(execution, now)
            return known in (None, owner) and self._owners.put(execution, owner, now, until)


def jti_of(proof: Any) -> str | None:
    """The nonce in a proof that OPA has verified; None where there is none."""
    try:
        nonce = jwt.decode(proof, options={"verify_signature": False}).get("jti")
    except (jwt.PyJWTError, TypeError):
        return None
    return nonce if isinstance(nonce, str) and nonce else None
