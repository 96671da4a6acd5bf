"""Signed modes of a system, shadow and break-glass: taken when they verify, published until they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlmodel import Session, col, select

from app.control import systems
from app.control.problems import Conflict, NotFound
from app.control.store import Mode
from app.control.store.columns import now
from app.control.tokens import Access
from app.core import modes
from app.core.governance import SignedMode, audience_of

if TYPE_CHECKING:  # the plane publishes modes
    from app.control.plane import Plane

#: As many as one system's published governance may hold.
MAX_IN_FORCE = 4


def verify(plane: Plane, system: str, evidence: Sequence[str]) -> tuple[modes.Mode, dict[str, Any]]:
    """Verify a mode by the system's own list of who may declare one: the mode and its predicate. Raises `Denied`."""
    with plane.store.read() as session:
        policy = systems.policy_of(systems.find(session, system))
    audience = audience_of(plane.settings.domain, system)
    mode = modes.judge(evidence, policy=policy, verify=plane.verify_statement, audience=audience, now=now())
    return mode, modes.predicate_of(mode, audience)


def publish(
    session: Session, by: Access, system: str, mode: modes.Mode, predicate: dict[str, Any], evidence: Sequence[str]
) -> tuple[Mode, bool]:
    """Publish a verified mode, and whether it is new. One that was ended, or another of its id, stays ended."""
    systems.find(session, system)
    found = session.get(Mode, (system, mode.id))
    if found is not None:
        if found.predicate != predicate:
            raise Conflict(f"there was another mode {mode.id} of {system}; sign this one under a new id")
        if found.ended_at is not None:
            raise Conflict(f"the mode {mode.id} was ended before its time; sign a new one")
        return found, False
    if len(in_force(session, system)) >= MAX_IN_FORCE:
        raise Conflict(f"{system} has {MAX_IN_FORCE} modes already; end one first: placet mode end")
    row = Mode(
        system=system,
        id=mode.id,
        kind=mode.kind,
        reason=mode.reason,
        begins_at=mode.begins,
        ends_at=mode.until,
        predicate=predicate,
        signers=[signer.model_dump() for signer in mode.signers],
        evidence=list(evidence),
        published_by=by.id,
    )
    session.add(row)
    session.flush()
    return row, True


def end(session: Session, by: Access, system: str, identifier: str) -> Mode:
    """End a mode before its time; sidecars drop it at their next refresh. Raises `NotFound`, `Conflict`."""
    row = session.get(Mode, (system, identifier))
    if row is None:
        raise NotFound(f"the system {system} has no mode {identifier}")
    if condition(row) in {"ended", "over"}:
        raise Conflict(f"the mode {identifier} is {condition(row)} already")
    row.ended_at, row.ended_by = now(), by.id
    session.add(row)
    session.flush()
    return row


def listed(session: Session, system: str, limit: int = 100) -> list[Mode]:
    """Every mode that a system had, newest first."""
    query = select(Mode).where(Mode.system == system).order_by(col(Mode.published_at).desc(), Mode.id)
    return list(session.exec(query.limit(limit)))


def in_force(session: Session, system: str | None = None) -> list[Mode]:
    """Modes that were not ended and whose time is not over, also those still to come; of every system by default."""
    query = select(Mode).where(col(Mode.ended_at).is_(None), col(Mode.ends_at) > now())
    if system is not None:
        query = query.where(Mode.system == system)
    return list(session.exec(query.order_by(Mode.system, col(Mode.begins_at), Mode.id)))


def condition(mode: Mode) -> str:
    """`in force`, `to come`, `ended` before its time, or `over`."""
    if mode.ended_at is not None:
        return "ended"
    if mode.ends_at <= now():
        return "over"
    return "in force" if mode.begins_at <= now() else "to come"


def published(session: Session) -> dict[str, list[SignedMode]]:
    """What sidecars are told, by system: the evidence, which they verify by their own policy."""
    found: dict[str, list[SignedMode]] = {}
    for mode in in_force(session):
        signed = SignedMode.model_validate({"kind": mode.kind, "evidence": mode.evidence})
        found.setdefault(mode.system, []).append(signed)
    return found
