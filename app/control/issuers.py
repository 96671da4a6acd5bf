"""Issuers of workload identities: whose tokens sidecars accept, for which audiences, under which keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, select

from app.control import jwks as jwks_module
from app.control.problems import NotFound
from app.control.store import Issuer
from app.control.store.columns import now


def put(session: Session, issuer: str, audiences: Sequence[str], jwks: Mapping[str, Any]) -> tuple[Issuer, bool]:
    """Trust an issuer, replacing what was known of it, and whether it is new. Raises `Invalid` for unusable keys."""
    keys = jwks_module.vet(jwks)
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


def _find(session: Session, issuer: str) -> Issuer | None:
    return session.exec(select(Issuer).where(Issuer.issuer == issuer)).first()
