"""Channels: named pointers of a system to a release. Positions only ever go up, also when they go back."""

from __future__ import annotations

from sqlmodel import Session, col, select

from app.control import impact, systems
from app.control.problems import NotFound
from app.control.publication import current_pointers
from app.control.store import Carried, Pointer
from app.control.tokens import Access


def point(session: Session, by: Access, system: str, channel: str, release: str) -> Pointer:
    """Point a channel at a release that its system carries. The same release again changes nothing.

    Raises `Denied` where the system demands to know the release's effect before (`app.control.impact`).
    """
    found = systems.find(session, system)
    if session.get(Carried, (system, release)) is None:
        raise NotFound(f"the system {system} has no release {release}; publish it first")
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
