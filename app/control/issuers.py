"""Issuers of workload identities: whose tokens sidecars accept, for which audiences, under which keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, select

from app.control.problems import Invalid, NotFound
from app.control.store import Issuer
from app.control.store.columns import now
from app.core import jwk

#: As many as one published issuer may have (`app.core.targets.TrustedIssuer`).
MAX_KEYS = 64


def put(session: Session, issuer: str, audiences: Sequence[str], jwks: Mapping[str, Any]) -> tuple[Issuer, bool]:
    """Trust an issuer, replacing what was known of it, and whether it is new. Raises `Invalid` for unusable keys."""
    keys = vet(jwks)
    found = _find(session, issuer)
    row = found or Issuer(issuer=issuer, audiences=[], keys={})
    row.audiences, row.keys, row.changed_at = list(dict.fromkeys(audiences)), keys, now()
    session.add(row)
    session.flush()
    return row, found is None


def remove(session: Session, issuer: str) -> None:
    """Trust an issuer no longer: its tokens are denied from the next state on."""
    found = _find(session, issuer)
    if found is None:
        raise NotFound(f"the issuer {issuer} is not trusted")
    session.delete(found)
    session.flush()


def listed(session: Session) -> list[Issuer]:
    """Every trusted issuer, by name."""
    return list(session.exec(select(Issuer).order_by(Issuer.issuer)))


def vet(jwks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The keys of a set by key id, reduced to what they need: one that may not be trusted refuses the set."""
    listed = jwks.get("keys")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_KEYS:
        raise Invalid(f"a JWK set has a list keys of 1 to {MAX_KEYS} keys")
    vetted: dict[str, dict[str, Any]] = {}
    for number, one in enumerate(listed):
        try:
            key = jwk.vet(one["kid"], one)
        except jwk.KeyRefused as refused:
            raise Invalid(f"keys[{number}]: {refused}") from refused
        except (KeyError, TypeError) as error:
            raise Invalid(f"keys[{number}]: not a JWK with a kid") from error
        if not (key.kid.isascii() and key.kid.isprintable()):
            raise Invalid(f"keys[{number}]: the kid must be printable ASCII")
        if key.kid in vetted:
            raise Invalid(f"keys[{number}]: the kid {key.kid} stands twice")
        vetted[key.kid] = dict(key.jwk)
    return vetted


def _find(session: Session, issuer: str) -> Issuer | None:
    return session.exec(select(Issuer).where(Issuer.issuer == issuer)).first()
