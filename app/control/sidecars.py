"""Sidecars: what each last said about itself."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import Session, select

from app.control import systems
from app.control.store import Eviction, Sidecar
from app.control.store.columns import now

#: A sidecar that was not heard of for this long is shown as silent, however healthy its last word was: it reports
#: every two seconds.
SILENT_AFTER = timedelta(seconds=10)


def report(session: Session, status: Sidecar) -> None:
    """Keep the status of a sidecar; an earlier one is replaced."""
    systems.find(session, status.system)
    session.merge(status)
    session.flush()


def listed(session: Session, system: str | None = None) -> list[Sidecar]:
    """Every sidecar, by system and name."""
    query = select(Sidecar).order_by(Sidecar.system, Sidecar.name)
    return list(session.exec(query.where(Sidecar.system == system) if system else query))


def age(status: Sidecar) -> timedelta:
    """How long ago we heard of it."""
    return max(now() - status.received_at, timedelta(0))


def condition(status: Sidecar, evicted: Eviction | None = None) -> str:
    """`healthy`, `unhealthy` or `silent`; or `evicted`, whatever it said before."""
    if evicted is not None:
        return "evicted"
    if age(status) > SILENT_AFTER:
        return "silent"
    return "healthy" if status.healthy else "unhealthy"
