"""Warrants that count no longer, by their `jti`, whoever issued them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlmodel import Session, col, func, select

from app.control.problems import Conflict, Invalid
from app.control.store import Warrant, WarrantRevocation
from app.control.store.columns import now
from app.control.tokens import Access
from app.core.governance import Revocation
from app.core.warrant_request import MAX_LIFETIME

#: Published a little longer than the warrant would have lasted: clocks differ.
GRACE = timedelta(seconds=120)

#: In force at a time in one system (`app.core.governance.SystemGovernance`).
MAX_REVOKED = 1000


def revoke(
    session: Session, by: Access, system: str, jti: str, reason: str, expires_at: int | None = None
) -> tuple[WarrantRevocation, bool]:
    """Revoke a warrant, or the request for one, and say whether that is new. To be done while publishing.

    One that this control plane did not issue, such as a delegated one, needs its `exp`, seconds since the epoch. Said
    again with a later one, that counts: the first may have been a mistake, and would end the revocation too early.
    """
    found = session.get(WarrantRevocation, (system, jti))
    if found is not None and expires_at is None:
        return found, False
    until = _until(session, system, jti, expires_at)
    if found is not None and until <= found.expires_at:
        return found, False
    is_listed = found is not None and found.expires_at > now() - GRACE
    if until > now() and not is_listed and _in_force(session, system) >= MAX_REVOKED:
        raise Conflict(
            f"{MAX_REVOKED} warrants are revoked in {system}, as many as sidecars take: withdraw the key that signed "
            "them (placet warrant key list), or quarantine their holder"
        )
    revocation = found or WarrantRevocation(system=system, jti=jti, expires_at=until, reason=reason, revoked_by=by.id)
    revocation.expires_at = until
    session.add(revocation)
    session.flush()
    return revocation, True


def revoked(session: Session, system: str) -> list[Revocation]:
    """What sidecars of a system must refuse: every revoked `jti` that would not have expired yet."""
    rows = session.exec(
        select(WarrantRevocation)
        .where(WarrantRevocation.system == system, col(WarrantRevocation.expires_at) > now() - GRACE)
        .order_by(col(WarrantRevocation.revoked_at), col(WarrantRevocation.jti))
    )
    return [Revocation(id=row.jti, expires_at=int(row.expires_at.timestamp())) for row in rows]


def of(session: Session, system: str, jti: str) -> WarrantRevocation | None:
    """The revocation of a warrant in a system; None when it was not revoked there."""
    return session.get(WarrantRevocation, (system, jti))


def _until(session: Session, system: str, jti: str, expires_at: int | None) -> datetime:
    """When nothing needs to be said of it any more."""
    own = session.get(Warrant, jti)
    if own is not None and own.system == system:
        own.revoked_at = now()
        session.add(own)
        return own.expires_at or own.created_at  # a request was never signed, so there is nothing to publish
    if expires_at is None:
        raise Invalid(f"{jti} was not issued here: say when it expires (its exp), or revoke the one it came from")
    latest = now() + timedelta(seconds=MAX_LIFETIME)
    if not 0 <= expires_at <= latest.timestamp():
        raise Invalid(f"the time of expiry must be within {MAX_LIFETIME // 86400} days from now")
    return datetime.fromtimestamp(expires_at, UTC)


def _in_force(session: Session, system: str) -> int:
    in_force = col(WarrantRevocation.expires_at) > now() - GRACE
    return session.exec(select(func.count()).where(WarrantRevocation.system == system, in_force)).one()
