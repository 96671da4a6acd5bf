"""Identity tokens that somebody presents to the control plane, verified as decisions do it.

This is `rego/placet/token.rego` and `identity.rego` said again, in their order: the same verdict, with the code that
stands first in a denial. `tests/integration/test_identity_agreement.py` puts the same tokens before both.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from sqlmodel import Session, col, select

from app.control import issuers, standing, token_parts
from app.control.store import Issuer
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.warrants import Principal

MAX_TOKEN = 8192

#: Seconds that an `iat` may lie ahead: clocks differ.
SKEW = 2

#: Actors that an `act` claim may nest.
_MAX_ACTORS = 8
_MAX_NAME = 2048
#: 9999-12-31T23:59:59Z: what is later cannot be written, and decisions refuse it.
_LATEST = 253402300799


@dataclass(frozen=True)
class Identity:
    """Who presented a token, as verified."""

    who: Principal
    #: The trust domain that vouches for them.
    domain: str
    claims: Mapping[str, Any]
    #: Who acts for them, by the token's own `act` claims (RFC 8693, section 4.1), the current actor first.
    actors: tuple[Principal, ...]


def verify(
    session: Session, home: str, token: str, *, also_for: str, max_age: int | None = None, what: str = "token"
) -> Identity:
    """Verify a JWT of a trusted issuer whose audience is one of the issuer's, or `also_for`. Raises `Denied`.

    `max_age` is the greatest age by its `iat`, in seconds. `what` names the token in messages; they never quote it.
    """
    try:
        return _verify(session, home, token, also_for, max_age)
    except _Wrong as wrong:
        raise Denied(wrong.reason, f"the {what} {wrong}", step=what) from wrong


class _Wrong(Exception):
    """What is wrong with a token."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _verify(session: Session, home: str, token: str, also_for: str, max_age: int | None) -> Identity:
    if len(token) > MAX_TOKEN:
        raise _Wrong(Reason.IDENTITY_MALFORMED, f"is longer than {MAX_TOKEN} characters")
    try:
        header, claims = token_parts.read(token)
    except token_parts.Unreadable as unreadable:
        raise _Wrong(Reason.IDENTITY_MALFORMED, str(unreadable)) from unreadable
    issuer = _issuer(session, claims)
    if issuer is None:
        raise _Wrong(Reason.IDENTITY_ISSUER_UNKNOWN, "is of an issuer that is not trusted")
    key = issuers.keys_in_force(session, issuer).get(header["kid"])
    if key is None:
        raise _Wrong(Reason.IDENTITY_KEY_UNKNOWN, "is signed with a key that is not one of its issuer's")
    if header["alg"] != key["alg"]:
        raise _Wrong(Reason.IDENTITY_ALGORITHM, "names an algorithm that is not its key's")
    now = time.time()
    _require_held(token, key, claims, [*issuer.audiences, also_for], now)
    actors = _actors(claims, issuer.issuer)
    _require_vouched_for(session, home, issuer, claims["sub"], actors or ())
    if actors is None:
        raise _Wrong(Reason.IDENTITY_ACTORS, "has an act that is not of the expected form")
    _require_timely(claims, max_age, now)
    _require_nameable(claims["sub"], actors)
    return Identity(Principal(issuer=issuer.issuer, id=claims["sub"]), issuer.domain or home, claims, actors)


def _require_held(
    token: str, key: Mapping[str, str], claims: Mapping[str, Any], accepted: list[str], at: float
) -> None:
    """Audience, times, signature, and then what is missing: what stands first says why, whoever signed it."""
    expiry, begin = claims.get("exp", 0), claims.get("nbf", 0)
    if not _is_for(claims.get("aud"), accepted):
        raise _Wrong(Reason.IDENTITY_AUDIENCE, "is for another audience")
    if "exp" in claims and _is_number(expiry) and expiry <= at:
        raise _Wrong(Reason.IDENTITY_EXPIRED, "has expired")
    if _is_number(begin) and begin > at:
        raise _Wrong(Reason.IDENTITY_NOT_YET_VALID, "is not valid yet")
    if not _is_number(expiry) or not _is_number(begin):
        raise _Wrong(Reason.IDENTITY_CLAIMS, "has an exp or nbf that is no number")
    if not _is_signed(token, key):
        raise _Wrong(Reason.IDENTITY_INVALID, "does not verify")
    if not _is_text(claims.get("sub")):
        raise _Wrong(Reason.IDENTITY_CLAIMS, "has no sub that is text")
    if not 0 < expiry <= _LATEST or not _is_number(claims.get("iat", 0)):
        raise _Wrong(Reason.IDENTITY_CLAIMS, "lacks an exp that is a date, or has an iat that is no number")


def _is_for(named: Any, accepted: list[str]) -> bool:
    return any(isinstance(one, str) and one in accepted for one in (named if isinstance(named, list) else [named]))


def _is_signed(token: str, key: Mapping[str, str]) -> bool:
    said, _, signature = token.rpartition(".")
    verifier = jwt.PyJWK(dict(key))
    try:
        return verifier.Algorithm.verify(said.encode(), verifier.key, token_parts.decoded(signature))
    except ValueError:
        return False


def _issuer(session: Session, claims: Mapping[str, Any]) -> Issuer | None:
    """By `iss`; a JWT-SVID needs none, and is of its subject's trust domain then, whoever says to have issued it."""
    named, subject = claims.get("iss", ""), claims.get("sub")
    if not isinstance(named, str):
        return None
    found = _named(session, named)
    if found is not None or not isinstance(subject, str):
        return found
    domain = re.match(r"spiffe://[^/\0]*", subject)
    own = select(Issuer).where(Issuer.issuer == domain[0], col(Issuer.kind) == "spiffe") if domain else None
    return session.exec(own).first() if own is not None else None


def _named(session: Session, issuer: str) -> Issuer | None:
    return issuers.find(session, issuer) if "\0" not in issuer else None


def _require_vouched_for(
    session: Session, home: str, issuer: Issuer, subject: str, actors: tuple[Principal, ...]
) -> None:
    domain = issuer.domain or home
    if not standing.is_linked(session, home, domain):
        raise _Wrong(Reason.IDENTITY_DOMAIN, f"is of the domain {domain}, which is not linked")
    if not standing.vouches(issuer, subject):
        raise _Wrong(Reason.IDENTITY_DOMAIN, "names a subject for whom its issuer may not vouch")
    if not all(_may_name(session, issuer, actor) for actor in actors):
        raise _Wrong(Reason.IDENTITY_DOMAIN, "names an actor for whom its issuer may not vouch")


def _may_name(session: Session, issuer: Issuer, actor: Principal) -> bool:
    """An issuer names actors only of its own trust domain, and only as their issuer there might."""
    own = _named(session, actor.issuer)
    return own is not None and own.domain == issuer.domain and standing.vouches(own, actor.id)


def _actors(claims: Mapping[str, Any], issuer: str) -> tuple[Principal, ...] | None:
    """Who acts for the subject, by the nested `act` claims; None when they are not well formed."""
    actors: list[Principal] = []
    above = claims
    while "act" in above:
        act = above["act"]
        if len(actors) == _MAX_ACTORS or not isinstance(act, dict):
            return None
        if not _is_text(act.get("iss", issuer)) or not _is_text(act.get("sub")):
            return None
        actors.append(Principal.model_construct(issuer=act.get("iss", issuer), id=act["sub"]))
        above = act
    return tuple(actors)


def _require_timely(claims: Mapping[str, Any], max_age: int | None, at: float) -> None:
    issued = claims.get("iat")
    if issued is not None and issued > at + SKEW:
        raise _Wrong(Reason.IDENTITY_FUTURE, "was issued in the future")
    if max_age is None:
        return
    if issued is None or not 0 <= issued <= _LATEST or at > math.floor(issued) + max_age:
        raise _Wrong(Reason.IDENTITY_STALE, f"is older than {max_age} seconds, or does not say")


def _require_nameable(subject: str, actors: tuple[Principal, ...]) -> None:
    """What a decision takes, too, but no warrant and no record of the control plane can name."""
    if not _is_name(subject):
        raise _Wrong(Reason.IDENTITY_CLAIMS, "has a sub that no warrant can name")
    if not all(_is_name(actor.id) for actor in actors):
        raise _Wrong(Reason.IDENTITY_ACTORS, "has an actor that no warrant can name")


def _is_name(value: str) -> bool:
    return len(value) <= _MAX_NAME and value.isprintable()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
