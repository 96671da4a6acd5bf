"""Quarantine: verified subjects that are denied everything, everywhere."""

from __future__ import annotations

from sqlmodel import Session, col, select

from app.control.problems import NotFound
from app.control.store import Quarantine
from app.control.store.columns import now
from app.control.tokens import Access


def add(session: Session, by: Access, issuer: str, subject: str, reason: str) -> tuple[Quarantine, bool]:
    """Quarantine a subject, and whether that is new. One that is in quarantine already stays as it is."""
    if (found := _active(session, issuer, subject)) is not None:
        return found, False
    entry = Quarantine(issuer=issuer, subject=subject, reason=reason, added_by=by.id)
    session.add(entry)
    session.flush()
    return entry, True


def lift(session: Session, by: Access, issuer: str, subject: str) -> Quarantine:
    """End a subject's quarantine; its row stays as evidence."""
    entry = _active(session, issuer, subject)
    if entry is None:
        raise NotFound(f"{subject} of {issuer} is not in quarantine")
    entry.lifted_at, entry.lifted_by = now(), by.id
    session.add(entry)
    session.flush()
    return entry


def listed(session: Session) -> list[Quarantine]:
    """Everyone in quarantine, newest first."""
    return list(
        session.exec(select(Quarantine).where(col(Quarantine.lifted_at).is_(None)).order_by(col(Quarantine.id).desc()))
    )


def lifted(session: Session, limit: int = 50) -> list[Quarantine]:
    """Those that were lifted, newest first."""
    query = select(Quarantine).where(col(Quarantine.lifted_at).is_not(None))
    return list(session.exec(query.order_by(col(Quarantine.lifted_at).desc()).limit(limit)))


def _active(session: Session, issuer: str, subject: str) -> Quarantine | None:
    return session.exec(
        select(Quarantine).where(
            Quarantine.issuer == issuer, Quarantine.subject == subject, col(Quarantine.lifted_at).is_(None)
        )
    ).first()
