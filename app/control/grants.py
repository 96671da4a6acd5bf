"""Grants: what a subject may do beyond asking for itself."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, select

from app.control.problems import NotFound
from app.control.store import SubjectGrant
from app.control.tokens import Access


def add(session: Session, by: Access, issuer: str, subject: str, grants: Sequence[str]) -> tuple[SubjectGrant, bool]:
    """Give a subject `grants` beside those that it has, and whether that changed anything."""
    row = _find(session, issuer, subject)
    if row is None:
        row = SubjectGrant(issuer=issuer, subject=subject, grants=[], added_by=by.id)
    together = sorted({*row.grants, *grants})
    changed = together != row.grants
    if changed:
        row.grants, row.added_by = together, by.id
        session.add(row)
        session.flush()
    return row, changed


def remove(session: Session, issuer: str, subject: str, grant: str | None = None) -> None:
    """Take one grant, or all of them, from a subject. Raises `NotFound`."""
    row = _find(session, issuer, subject)
    if row is None or (grant is not None and grant not in row.grants):
        raise NotFound(f"{subject} of {issuer} has no such grant")
    row.grants = [one for one in row.grants if grant is not None and one != grant]
    if row.grants:
        session.add(row)
    else:
        session.delete(row)
    session.flush()


def listed(session: Session) -> list[SubjectGrant]:
    """Every grant, by issuer and subject."""
    return list(session.exec(select(SubjectGrant).order_by(SubjectGrant.issuer, SubjectGrant.subject)))


def _find(session: Session, issuer: str, subject: str) -> SubjectGrant | None:
    return session.exec(
        select(SubjectGrant).where(SubjectGrant.issuer == issuer, SubjectGrant.subject == subject)
    ).first()
