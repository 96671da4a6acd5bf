"""Channels: named pointers of a system to a release. Positions only ever go up, also when they go back."""

from __future__ import annotations

from sqlmodel import Session, col, select

from app.control import impact, releases, systems
from app.control.problems import Conflict
from app.control.publication import current_pointers
from app.control.store import Pointer
from app.control.tokens import Access
from app.core.verification_policy import VerificationPolicy


def point(
    session: Session, by: Access, system: str, channel: str, release: str, *, accepted: VerificationPolicy
) -> Pointer:
    """Point a channel at a release that its system carries. The same release again changes nothing.

    `accepted` is what `releases.require_accepted` found the release to satisfy. Raises `Conflict` where that is the
    system's policy no more, or `Denied` where it demands to know the release's effect before (`app.control.impact`).
    """
    releases.find(session, system, release)
    found = systems.find(session, system)
    if systems.policy_of(found) != accepted:
        raise Conflict(f"the verification policy of {system} was changed at the same time; try again")
    before = session.exec(
        select(Pointer)
        .where(Pointer.system == system, Pointer.channel == channel)
        .order_by(col(Pointer.sequence).desc())
        .limit(1)
    ).first()
    if before is not None and before.release == release:
        return before
    impact.require(session, found, channel, release)
    after = Pointer(
        system=system,
        channel=channel,
        sequence=before.sequence + 1 if before else 1,
        release=release,
        set_by=by.id,
    )
    session.add(after)
    session.flush()
    return after


def listed(session: Session, system: str) -> list[Pointer]:
    """The current position of each channel of a system, by name."""
    systems.find(session, system)
    return [pointer for pointer in current_pointers(session) if pointer.system == system]
