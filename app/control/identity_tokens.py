"""Identity tokens that somebody presents to the control plane, verified by the rules that hold in decisions."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from sqlmodel import Session, col, select

from app.control import issuers, standing
from app.control.store import Issuer
from app.core import strict_json
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.warrants import Principal

MAX_TOKEN = 8192

#: Seconds that an `iat` may lie ahead: clocks differ.
SKEW = 2

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HEADER = {"alg", "kid", "typ"}
#: A token of another type was made to say something else (RFC 8725, section 3.11).
_TYPES = {"jwt", "jose", "at+jwt", "application/at+jwt"}
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
    #: Who acts for them, by the token's own `act` claim (RFC 8693, section 4.1); the current actor alone.
    actor: Principal | None


def verify(
    session: Session, home: str, token: str, *, also_for: str, max_age: int | None = None, what: str = "token"
) -> Identity:
    """Verify a JWT of a trusted issuer whose audience is one of the issuer's, or `also_for`. Raises `Denied`.

    `max_age` is the greatest age by its `iat`, in seconds. `what` names the token in messages; they never quote it.
    """
    if len(token) > MAX_TOKEN or not _FORM.fullmatch(token):
        raise Denied(Reason.IDENTITY_MALFORMED, f"the {what} is no JWT of at most {MAX_TOKEN} characters", step=what)
    header, unverified = (_object(part, what) for part in token.split(".")[:2])
    if not set(header) <= _HEADER or not isinstance(header.get("kid"), str):
        raise Denied(Reason.IDENTITY_MALFORMED, f"the {what}'s header must hold alg, kid and typ alone", step=what)
    if str(header.get("typ", "JWT")).lower() not in _TYPES:
        raise Denied(Reason.IDENTITY_MALFORMED, f"the {what} is of another type than identities are (typ)", step=what)
    issuer = _issuer(session, unverified)
    if issuer is None:
        raise Denied(Reason.IDENTITY_ISSUER_UNKNOWN, f"the {what}'s issuer is not trusted", step=what)
    key = issuers.keys_in_force(session, issuer).get(header["kid"])
    if key is None:
        raise Denied(Reason.IDENTITY_KEY_UNKNOWN, f"the {what}'s key is not one of its issuer's", step=what)
    if header.get("alg") != key["alg"]:
        raise Denied(Reason.IDENTITY_ALGORITHM, f"the {what}'s algorithm is not its key's", step=what)
    claims = _verified(token, key, [*issuer.audiences, also_for], what)
    _check_age(claims, max_age, what)
    if not _is_name(claims["sub"]):
        raise Denied(Reason.IDENTITY_CLAIMS, f"the {what}'s sub is no name", step=what)
    if not standing.vouches(issuer, claims["sub"]):
        raise Denied(Reason.IDENTITY_DOMAIN, f"the {what}'s issuer may not vouch for its subject", step=what)
    who = Principal(issuer=issuer.issuer, id=claims["sub"])
    actor = _actor(claims, issuer.issuer, what)
    if actor is not None and not _may_name(session, issuer, actor):
        raise Denied(Reason.IDENTITY_DOMAIN, f"the {what}'s issuer may not vouch for its actor", step=what)
    return Identity(who, issuer.domain or home, claims, actor)


def _verified(token: str, key: Mapping[str, str], audiences: list[str], what: str) -> dict[str, Any]:
    """The claims, once signature, audience and times are right; without leeway."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            jwt.PyJWK(dict(key)),
            algorithms=[key["alg"]],
            audience=audiences,
            options={"require": ["exp", "sub", "aud"], "verify_iss": False, "verify_iat": False},
        )
    except jwt.ExpiredSignatureError as error:
        raise Denied(Reason.IDENTITY_EXPIRED, f"the {what} has expired", step=what) from error
    except jwt.ImmatureSignatureError as error:
        raise Denied(Reason.IDENTITY_NOT_YET_VALID, f"the {what} is not valid yet", step=what) from error
    except (jwt.InvalidAudienceError, jwt.MissingRequiredClaimError) as error:
        missing = isinstance(error, jwt.MissingRequiredClaimError) and error.claim != "aud"
        reason = Reason.IDENTITY_CLAIMS if missing else Reason.IDENTITY_AUDIENCE
        detail = "lacks sub or exp" if missing else "is for another audience"
        raise Denied(reason, f"the {what} {detail}", step=what) from error
    except jwt.exceptions.InvalidSubjectError as error:
        raise Denied(Reason.IDENTITY_CLAIMS, f"the {what}'s sub is no text", step=what) from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise Denied(Reason.IDENTITY_INVALID, f"the {what} does not verify", step=what) from error
    return claims


def _check_age(claims: Mapping[str, Any], max_age: int | None, what: str) -> None:
    for name in ("exp", "nbf", "iat"):  # PyJWT takes "12" for 12
        if name in claims and (isinstance(claims[name], bool) or not isinstance(claims[name], int | float)):
            raise Denied(Reason.IDENTITY_CLAIMS, f"the {what}'s {name} is no number", step=what)
    if claims["exp"] > _LATEST:
        raise Denied(Reason.IDENTITY_CLAIMS, f"the {what}'s exp is no date", step=what)
    issued, at = claims.get("iat"), time.time()
    if issued is not None and issued > at + SKEW:
        raise Denied(Reason.IDENTITY_FUTURE, f"the {what} was issued in the future", step=what)
    if max_age is not None and (issued is None or issued < at - max_age):
        raise Denied(Reason.IDENTITY_STALE, f"the {what} is older than {max_age} seconds, or does not say", step=what)


def _actor(claims: Mapping[str, Any], issuer: str, what: str) -> Principal | None:
    """One level: a warrant names one actor, and a longer chain must not lose those before it."""
    act = claims.get("act")
    if act is None:
        return None
    if not isinstance(act, dict) or not _is_name(act.get("iss", issuer)) or not _is_name(act.get("sub")):
        raise Denied(Reason.IDENTITY_ACTORS, f"the {what}'s act is not of the expected form", step=what)
    if "act" in act:
        raise Denied(Reason.IDENTITY_ACTORS, f"the {what} has a chain of actors; a warrant names one", step=what)
    return Principal(issuer=act.get("iss", issuer), id=act["sub"])


def _may_name(session: Session, issuer: Issuer, actor: Principal) -> bool:
    """An issuer names actors only of its own trust domain, and only as their issuer there might."""
    own = issuers.find(session, actor.issuer)
    return own is not None and own.domain == issuer.domain and standing.vouches(own, actor.id)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isprintable()


def _issuer(session: Session, claims: Mapping[str, Any]) -> Issuer | None:
    """By `iss`; a JWT-SVID needs none, and is of its subject's trust domain then."""
    named = claims.get("iss")
    found = issuers.find(session, named) if isinstance(named, str) and "\0" not in named else None
    if found is not None:
        return found
    parts = re.match(r"(spiffe://[a-z0-9._-]{1,255})/", str(claims.get("sub")))
    if parts is None:
        return None
    return session.exec(select(Issuer).where(Issuer.issuer == parts[1], col(Issuer.kind) == "spiffe")).first()


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        return strict_json.load_object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, strict_json.StrictJSONError) as error:
        raise Denied(Reason.IDENTITY_MALFORMED, f"the {what} cannot be read", step=what) from error
