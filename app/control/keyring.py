"""The keys of warrants, attestation results and sidecars' identities, and their rotation without a gap.

A key is *next* (published, not signing yet), then *current* (it signs), then *retired* (published until the last token
that it signed has expired), then *gone*. All of that follows from times in the database, so every process of a
control plane agrees, and nothing has to run at the right moment. JWTs are put together here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, get_args

from jwt.utils import base64url_encode
from sqlalchemy import update
from sqlmodel import Session, col, select

from app.control.key_store import KeyStore
from app.control.problems import Conflict, Invalid, NotFound, Unavailable
from app.control.store import SigningKey
from app.control.store.columns import now
from app.core import strict_json
from app.core.errors import PlacetError

Purpose = Literal["warrant", "attestation", "identity"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

#: Whose keys must be P-256: every OpenID Connect client, Fulcio among them, is sure to read ES256, and not EdDSA.
_P256_ONLY: frozenset[Purpose] = frozenset({"identity"})

#: Seconds that a new key is published before it signs: sidecars refresh every few seconds.
LEAD = 60
#: How long one may be: sidecars at an edge site refresh seldom.
MAX_LEAD = 30 * 86400
#: A key stays published for so long after its last token expired, or after it signed last: clocks differ, and a
#: transaction that began before the change may end after it.
GRACE = timedelta(seconds=120)
#: Published at a time for one purpose (`app.core.targets.TrustedSigner`).
MAX_PUBLISHED = 16


class Status(StrEnum):
    """What a key is for now."""

    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"
    GONE = "gone"


@dataclass(frozen=True)
class Listed:
    """A key with its status, and until when it stays published; None while that is not known."""

    key: SigningKey
    status: Status
    published_until: datetime | None


class Keyring:
    """Signs as the control plane. Thread-safe."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def sign(self, session: Session, purpose: Purpose, claims: Mapping[str, Any], typ: str) -> str:
        """A JWT of `claims` (with `exp`) by the current key, in a transaction that writes."""
        return self.jwt(reserve(session, purpose, claims["exp"]), claims, typ)

    def jwt(self, key: SigningKey, claims: Mapping[str, Any], typ: str) -> str:
        """A JWT of `claims` by a key that `reserve` gave. Its header is exactly `alg`, `kid` and `typ`.

        Raises `Unavailable` when the key cannot be used now.
        """
        header = {"alg": key.jwk["alg"], "kid": key.kid, "typ": typ}
        signed = b".".join(base64url_encode(strict_json.canonical(dict(part))) for part in (header, claims))
        try:
            signature = self._keys.sign(key.uri, key.jwk, signed)
        except PlacetError as error:
            raise Unavailable(str(error)) from error
        return b".".join((signed, base64url_encode(signature))).decode()

    def ensure(self, session: Session, uris: Mapping[Purpose, str] | None = None) -> None:
        """Give every purpose that has no key its first one, which signs at once: nobody has seen another."""
        for purpose in PURPOSES:
            if not _rows(session, purpose):
                self._add(session, purpose, now(), None, (uris or {}).get(purpose))

    def rotate(
        self, session: Session, purpose: Purpose, *, by: str, lead_seconds: int = LEAD, uri: str | None = None
    ) -> SigningKey:
        """Announce the next key: a new file, or the one that `uri` names. To be done while publishing."""
        if not 0 <= lead_seconds <= MAX_LEAD:
            raise Invalid(f"the lead must be between 0 and {MAX_LEAD} seconds")
        keys = listed(session, purpose)
        if any(one.status is Status.NEXT for one in keys):
            raise Conflict("a key is announced already; it signs from its time on, or withdraw it")
        if sum(one.status is not Status.GONE for one in keys) >= MAX_PUBLISHED:
            raise Conflict(f"{MAX_PUBLISHED} keys are published already; wait until a retired one is gone")
        return self._add(session, purpose, now() + timedelta(seconds=lead_seconds), by, uri)

    @staticmethod
    def published(session: Session, purpose: Purpose) -> dict[str, dict[str, str]]:
        """The vetted public JWK of every key whose tokens count, by key id."""
        return {one.key.kid: one.key.jwk for one in listed(session, purpose) if one.status is not Status.GONE}

    def _add(
        self, session: Session, purpose: Purpose, signs_from: datetime, by: str | None, uri: str | None
    ) -> SigningKey:
        p256 = purpose in _P256_ONLY
        full, jwk = self._keys.adopt(uri) if uri else self._keys.create(purpose, p256=p256)
        if p256 and jwk["alg"] != "ES256":
            raise Invalid(f"the key {full} is for {jwk['alg']}; that of the purpose {purpose} must be P-256 (ES256)")
        if session.get(SigningKey, jwk["kid"]) is not None:
            raise Conflict(f"the key {jwk['kid']} was used already; rotate to another one")
        key = SigningKey(kid=jwk["kid"], purpose=purpose, uri=full, jwk=jwk, signs_from=signs_from, announced_by=by)
        session.add(key)
        session.flush()
        return key


def reserve(session: Session, purpose: Purpose, exp: int) -> SigningKey:
    """The key that signs now; it stays published until what it signs expires at `exp`, seconds since the epoch."""
    key = next((one.key for one in listed(session, purpose) if one.status is Status.CURRENT), None)
    if key is None:
        raise Unavailable(f"there is no key that signs as {purpose}; restart the server, which makes one")
    later = update(SigningKey).where(col(SigningKey.kid) == key.kid, col(SigningKey.signed_until) < exp)
    session.execute(later.values(signed_until=exp).execution_options(synchronize_session=False))
    return key


def listed(session: Session, purpose: Purpose) -> list[Listed]:
    """Every key of a purpose, newest first."""
    rows, at = _rows(session, purpose), now()
    usable = [key for key in rows if key.withdrawn_at is None]
    current = next((key for key in usable if key.signs_from <= at), None)
    return [_judged(key, usable, current, at) for key in rows]


def withdraw(session: Session, kid: str, *, by: str) -> SigningKey:
    """Trust a key no longer, from the next state on: what it signed is void. To be done while publishing.

    When it is the current one, the next takes its place at once; without a next one it cannot be withdrawn.
    """
    key = session.get(SigningKey, kid)
    others = [one for purpose in PURPOSES if key and key.purpose == purpose for one in listed(session, purpose)]
    status = next((one.status for one in others if one.key.kid == kid), Status.GONE)
    if key is None or status is Status.GONE:
        raise NotFound(f"there is no key {kid} that could be withdrawn")
    if status is Status.CURRENT:
        successor = next((one.key for one in others if one.status is Status.NEXT), None)
        if successor is None:
            raise Conflict(
                f"this key signs now; announce another one first: placet warrant key rotate --purpose {key.purpose}"
            )
        successor.signs_from = now()
        session.add(successor)
    key.withdrawn_at, key.withdrawn_by = now(), by
    session.add(key)
    session.flush()
    return key


def _rows(session: Session, purpose: str) -> list[SigningKey]:
    query = select(SigningKey).where(SigningKey.purpose == purpose)
    return list(session.exec(query.order_by(col(SigningKey.signs_from).desc(), col(SigningKey.kid))))


def _judged(key: SigningKey, usable: Sequence[SigningKey], current: SigningKey | None, at: datetime) -> Listed:
    if key.withdrawn_at is not None:
        return Listed(key, Status.GONE, key.withdrawn_at)
    if key.signs_from > at:
        return Listed(key, Status.NEXT, None)
    if key is current:
        return Listed(key, Status.CURRENT, None)
    replaced = usable[usable.index(key) - 1].signs_from  # newest first: the one before is the next newer
    until = max(replaced, datetime.fromtimestamp(key.signed_until, UTC)) + GRACE
    return Listed(key, Status.RETIRED if until > at else Status.GONE, until)
