"""What this sidecar has seen lately: nonces of proofs, and who runs under which execution id."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any, Generic, TypeVar

import jwt

_Value = TypeVar("_Value")

#: Seconds for which a proof is accepted, by its `iat`, with the skew of clocks; a nonce is remembered longer.
PROOF_LIFE = 60
_REMEMBERED = PROOF_LIFE + 10
#: Entries at most. Beyond it everything is refused until some have expired: doubt denies.
MAX_ENTRIES = 100_000
#: Executions of one subject at most: nobody alone can fill the room of all.
SHARE = MAX_ENTRIES // 10


class _Expiring(Generic[_Value]):
    """A map whose entries end. Not safe by itself."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[_Value, float]] = {}
        self._swept = 0.0

    def get(self, key: Hashable, now: float) -> _Value | None:
        value, until = self._entries.get(key, (None, 0.0))
        return value if now < until else None

    def put(self, key: Hashable, value: _Value, now: float, until: float) -> bool:
        if key not in self._entries and len(self._entries) >= MAX_ENTRIES:
            self.sweep(now)
            if len(self._entries) >= MAX_ENTRIES:
                return False
        self._entries[key] = (value, until)
        return True

    def values(self) -> Iterable[_Value]:
        return [value for value, _ in self._entries.values()]

    def sweep(self, now: float) -> bool:
        """Forget what has ended; at most once a second, since each caller would pay for it. Says whether it did."""
        if 0 <= now - self._swept < 1:
            return False
        self._entries = {key: entry for key, entry in self._entries.items() if now < entry[1]}
        self._swept = now
        return True


class Nonces:
    """The `jti` of each proof that was used. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: _Expiring[bool] = _Expiring()

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
        self._owners: _Expiring[tuple[str, ...]] = _Expiring()
        #: How many a subject has; those that have ended count until they are looked for.
        self._shares: Counter[tuple[str, ...]] = Counter()

    def claim(self, execution: str, owner: tuple[str, ...], now: float, *, until: float) -> bool:
        """Take an id for `owner`: the subject's issuer and name, and what else must be the same.

        False when somebody else has it, or the subject has too many; the same owner may ask again.
        """
        subject = owner[:2]
        with self._lock:
            known = self._owners.get(execution, now)
            if known is not None:
                return known == owner and self._owners.put(execution, owner, now, until)
            if self._shares[subject] >= SHARE and self._owners.sweep(now):
                self._shares = Counter(one[:2] for one in self._owners.values())
            if self._shares[subject] >= SHARE or not self._owners.put(execution, owner, now, until):
                return False
            self._shares[subject] += 1
            return True


def jti_of(token: Any) -> str | None:
    """The id of a token that OPA has verified; None where there is none."""
    nonce = claims_of(token).get("jti")
    return nonce if isinstance(nonce, str) and nonce else None


def claims_of(token: Any) -> dict[str, Any]:
    """What a token says that OPA has verified; nothing where it is no token."""
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, TypeError):
        return {}
    return claims
