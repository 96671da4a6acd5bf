"""Attestation results that were issued: listed, and revoked when the evidence that they rest on counts no longer."""

from __future__ import annotations

import math

from sqlalchemy import func
from sqlmodel import Session, col, select

from app.control import attestation_basis, governance
from app.control.governance_document import Evidence
from app.control.problems import Conflict, NotFound
from app.control.store import AttestationResult
from app.control.store.columns import now
from app.core.governance import Revocation

#: How many one system's published governance names: a fraction of the room that is kept for quarantine.
MAX_REVOKED = 100
#: Unexpired results of one sidecar: it asks for a new one twice in the life of the last.
MAX_HELD = 50


def find(session: Session, system: str, identifier: str) -> AttestationResult:
    """One result. Raises `NotFound`."""
    row = session.get(AttestationResult, identifier)
    if row is None or row.system != system:
        raise NotFound(f"the system {system} has no attestation result {identifier}")
    return row


def require_room(session: Session, system: str, sidecar: str) -> None:
    """Fail when a sidecar asks for more results than it can need. Raises `Conflict`."""
    query = select(func.count()).select_from(AttestationResult)
    held = query.where(
        AttestationResult.system == system,
        AttestationResult.sidecar == sidecar,
        col(AttestationResult.expires_at) > now(),
    )
    if session.exec(held).one() >= MAX_HELD:
        raise Conflict(f"the sidecar {sidecar} holds {MAX_HELD} results that have not expired; come again later")


def listed(session: Session, system: str, limit: int = 200) -> list[AttestationResult]:
    """Results that have not expired, newest first."""
    query = select(AttestationResult).where(
        AttestationResult.system == system, col(AttestationResult.expires_at) > now()
    )
    return list(session.exec(query.order_by(col(AttestationResult.issued_at).desc()).limit(limit)))


def revoke(session: Session, system: str, identifier: str, because: str) -> AttestationResult:
    """Revoke a result from now on; one that is revoked already stays as it is."""
    row = find(session, system, identifier)
    _revoke(session, row, because)
    session.flush()
    return row


def revoke_unfounded(session: Session, home: str) -> list[AttestationResult]:
    """Revoke the results in force that rest on evidence which would not be taken any more.

    To be done whenever something is published: whatever changed may have been what they rest on.
    """
    rules: dict[str, Evidence] = {}
    affected = []
    for row in _in_force(session):
        accepted = rules.setdefault(row.system, governance.of(session, row.system).evidence)
        if not attestation_basis.holds(session, home, row, accepted):
            _revoke(session, row, "the evidence is no longer accepted")
            affected.append(row)
    session.flush()
    return affected


def revoked(session: Session) -> dict[str, tuple[list[Revocation], bool]]:
    """What sidecars are told, by system, and whether there are more than they can be told.

    Results that would have expired anyway are left out.
    """
    query = select(AttestationResult.system, AttestationResult.id, AttestationResult.expires_at).where(
        col(AttestationResult.revoked_at).is_not(None), col(AttestationResult.expires_at) > now()
    )
    found: dict[str, list[Revocation]] = {}
    for system, identifier, expires_at in session.exec(query.order_by(AttestationResult.id)):
        ends = math.ceil(expires_at.timestamp())
        found.setdefault(system, []).append(Revocation(id=identifier, expires_at=ends))
    return {system: (ended[:MAX_REVOKED], len(ended) > MAX_REVOKED) for system, ended in found.items()}


def _in_force(session: Session) -> list[AttestationResult]:
    query = select(AttestationResult).where(
        col(AttestationResult.revoked_at).is_(None), col(AttestationResult.expires_at) > now()
    )
    return list(session.exec(query))


def _revoke(session: Session, row: AttestationResult, because: str) -> None:
    if row.revoked_at is None:
        row.revoked_at, row.revoked_because = now(), because
        session.add(row)
