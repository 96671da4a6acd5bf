"""The keys with which the agent signs execution tokens: Ed25519, in its private directory, new at each start and daily.

A key's public half reaches OPA with the trust state. It signs only after that, and stays known until the last token
that it may have signed has expired, also across restarts.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.core import jwk, strict_json
from app.core.errors import Denied, PlacetError
from app.core.files import warn_if_open, write_atomically
from app.core.reason_codes import Reason

TYP = "execution+jwt"
#: Seconds that a token lives at most.
LIFETIME = 300
#: Seconds between two rotations.
ROTATION = 86_400
#: Seconds that a retired key is known: its last token's life, and a clock that is corrected meanwhile.
_KEPT = LIFETIME + 60
#: Keys kept at most, for an agent that is started again and again.
_MAX_KEYS = 8


@dataclass(frozen=True)
class _Kept:
    """A key as it is kept: PKCS#8 PEM; times in seconds since the epoch."""

    kid: str
    pem: str
    made: int
    retired: int | None = None

    def private(self) -> Ed25519PrivateKey:
        key = serialization.load_pem_private_key(self.pem.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("not an Ed25519 key")
        return key


class ExecutionKeys:
    """The keys of one sidecar. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """`path`: the file that holds them, made at the first start with mode 0600."""
        self._path = path
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []
        self._private: dict[str, Ed25519PrivateKey] = {}
        self._written: frozenset[str] = frozenset()

    def open(self) -> None:
        """Load what was kept, and make the key of this start. For the one agent that holds the directory."""
        with self._lock:
            self._kept = _load(self._path) if self._path.exists() else []
            self._private = {key.kid: key.private() for key in self._kept}
            self._rotate(int(time.time()))

    def rotate_when_due(self) -> None:
        """Make a new key once a day, and forget those whose tokens have all expired."""
        now = int(time.time())
        with self._lock:
            # None is left where `renew` could not write: then it is tried again.
            if not self._kept or not 0 <= now - self._kept[-1].made < ROTATION:
                self._rotate(now)
            elif any(_is_over(key, now) for key in self._kept):
                self._keep([key for key in self._kept if not _is_over(key, now)])

    def renew(self) -> None:
        """Make a new key, and forget all others: no token that they signed is good any more."""
        with self._lock:
            self._kept, self._private = [], {}  # whether or not the new one can be written
            self._rotate(int(time.time()))

    def public(self) -> dict[str, Any]:
        """The public keys by id, `{alg, jwks}`, as the trust state holds them."""
        with self._lock:
            keys = {kid: self._private[kid] for kid in (key.kid for key in self._kept)}
        found = {}
        for kid, key in keys.items():
            vetted = jwk.vet(kid, jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True))
            found[kid] = {"alg": vetted.alg, "jwks": vetted.jwks_text()}
        return found

    def headers(self) -> dict[str, str]:
        """The first segment of each key's tokens, and the key's id: OPA need not take the header apart."""
        with self._lock:
            kept = [key.kid for key in self._kept]
        return {jwt.encode({}, self._private[kid], "EdDSA", _header(kid)).split(".")[0]: kid for kid in kept}

    def written(self, kids: Iterable[str]) -> None:
        """OPA knows these keys now: the newest of them may sign."""
        self._written = frozenset(kids)

    def sign(self, claims: dict[str, Any]) -> str:
        """A token by the newest key that OPA knows. Raises `PlacetError` when it knows none."""
        with self._lock:
            known = [key.kid for key in self._kept if key.kid in self._written]
            if not known:
                raise PlacetError("OPA does not know this sidecar's execution key yet")
            return jwt.encode(claims, self._private[known[-1]], "EdDSA", _header(known[-1]))

    def verify(self, token: str, issuer: str, audience: str) -> dict[str, Any]:
        """The claims of a token that one of these keys signed and that has not expired. Raises `Denied`."""
        try:
            header = jwt.get_unverified_header(token)
            with self._lock:
                key = self._private.get(str(header.get("kid")))
            if key is None or header != {"alg": "EdDSA", **_header(str(header.get("kid")))}:
                raise Denied(Reason.EXECUTION_INVALID, "not a token of this sidecar's current keys")
            required = ["iss", "aud", "iat", "exp", "exe", "sub"]
            claims = jwt.decode(
                token, key.public_key(), ["EdDSA"], {"require": required}, audience=audience, issuer=issuer
            )
        except jwt.ExpiredSignatureError as error:
            raise Denied(Reason.EXECUTION_EXPIRED, str(error)) from error
        except jwt.PyJWTError as error:
            raise Denied(Reason.EXECUTION_INVALID, str(error)) from error
        return dict(claims)

    def _rotate(self, now: int) -> None:
        key = Ed25519PrivateKey.generate()
        raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        kid = base64.urlsafe_b64encode(hashlib.sha256(raw).digest())[:22].decode()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # A clock that was set back could keep a retired key for ever: no key was retired later than now.
        earlier = [_Kept(one.kid, one.pem, one.made, min(one.retired or now, now)) for one in self._kept]
        known = [one for one in earlier if not _is_over(one, now)]
        self._keep([*known[1 - _MAX_KEYS :], _Kept(kid, pem.decode(), now)], {kid: key})

    def _keep(self, keys: list[_Kept], made: Mapping[str, Ed25519PrivateKey] = MappingProxyType({})) -> None:
        write_atomically(self._path, strict_json.canonical({"keys": [asdict(key) for key in keys]}), mode=0o600)
        self._kept = keys
        kept = {key.kid for key in keys}
        self._private = {kid: key for kid, key in {**self._private, **made}.items() if kid in kept}


def _header(kid: str) -> dict[str, str]:
    return {"kid": kid, "typ": TYP}


def _is_over(key: _Kept, now: int) -> bool:
    return key.retired is not None and now - key.retired > _KEPT


def _load(path: Path) -> list[_Kept]:
    warn_if_open(path, "the keys of executions")
    try:
        keys = [_Kept(**one) for one in strict_json.load_object(path.read_bytes())["keys"]]
        for key in keys:
            key.private()
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise PlacetError(f"{path} is damaged; delete it, and executions have to be started anew") from error
    return keys
