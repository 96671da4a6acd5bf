"""Quarantine: subjects, executions, segments and whole domains that are denied everything, everywhere."""

from __future__ import annotations

from typing import Literal

from sqlmodel import Session, col, select

from app.control.problems import NotFound
from app.control.store import Quarantine
from app.control.store.columns import now
from app.control.tokens import Access

Kind = Literal["subject", "execution", "segment", "domain"]

SUBJECT: Kind = "subject"


def add(
    session: Session, by: Access, issuer: str, subject: str, reason: str, kind: Kind = SUBJECT
) -> tuple[Quarantine, bool]:
    """Quarantine a subject, or the name of another kind (`issuer` is then empty), and say whether that is new.

    What is in quarantine already stays as it is.
    """
    if (found := _active(session, kind, issuer, subject)) is not None:
        return found, False
    entry = Quarantine(kind=kind, issuer=issuer, subject=subject, reason=reason, added_by=by.id)
    session.add(entry)
    session.flush()
    return entry, True


def lift(session: Session, by: Access, issuer: str, subject: str, kind: Kind = SUBJECT) -> Quarantine:
    """End a quarantine; its row stays as evidence. Raises `NotFound`."""
    entry = _active(session, kind, issuer, subject)
    if entry is None:
        who = f"{subject} of {issuer}" if kind == SUBJECT else f"the {kind} {subject}"
        raise NotFound(f"{who} is not in quarantine")
    entry.lifted_at, entry.lifted_by = now(), by.id
    session.add(entry)
    session.flush()
    return entry


def in_force(session: Session) -> list[Quarantine]:
    """Everything in quarantine, oldest first."""
    return list(
        session.exec(select(Quarantine).where(col(Quarantine.lifted_at).is_(None)).order_by(col(Quarantine.id)))
    )


def listed(session: Session) -> list[Quarantine]:
    """Everything in quarantine, newest first."""
    return in_force(session)[::-1]


def lifted(session: Session, limit: int = 50) -> list[Quarantine]:
    """What was lifted, newest first."""
    query = select(Quarantine).where(col(Quarantine.lifted_at).is_not(None))
    return list(session.exec(query.order_by(col(Quarantine.lifted_at).desc()).limit(limit)))


def _active(session: Session, kind: Kind, issuer: str, subject: str) -> Quarantine | None:
    return session.exec(
        select(Quarantine).where(
            Quarantine.kind == kind,
            Quarantine.issuer == issuer,
            Quarantine.subject == subject,
            col(Quarantine.lifted_at).is_(None),
        )
    ).first()
