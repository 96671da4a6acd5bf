"""Breaks of lineage: signed batches that did not fit are kept, told, and stop their sidecar until a person clears them.

A batch that the sidecar itself did not sign stops nobody: a stolen API token is no way to break a sidecar. It is kept
as well, within bounds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import BigInteger, bindparam, func
from sqlmodel import Session, col, select

from app.control.plane import Plane
from app.control.problems import Conflict, Invalid, NotFound
from app.control.record_lines import clean
from app.control.store import LineageBreak
from app.control.store.columns import now
from app.control.tokens import Access
from app.core.complaint import printable
from app.core.errors import Denied
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")

#: How many refused batches that no sidecar signed are kept for one sidecar, and for a system; and how many bytes of
#: each. Beyond that they are only counted.
MAX_KEPT = 64
MAX_KEPT_OF_SYSTEM = 512
MAX_UNPROVED = 4 * 1024 * 1024

#: How many breaks that were cleared are listed.
MAX_CLEARED = 100

_MAX_NOTE = 1000

#: Made once: each batch needs it.
_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))


@dataclass(frozen=True)
class Refused:
    """A batch that is not taken."""

    system: str
    sidecar: str
    #: None where the statement could not be read.
    instance: str | None
    denied: Denied
    #: The request's body.
    body: bytes
    #: Whether its signature is the sidecar's own.
    stops: bool


def serialise(session: Session, system: str, sidecar: str) -> None:
    """Until this transaction ends, no other one changes this sidecar's lineage. On SQLite nobody else writes anyway."""
    if session.get_bind().dialect.name == "postgresql":
        key = int.from_bytes(sha256(f"lineage/{system}/{sidecar}".encode()).digest()[:8], signed=True)
        session.connection().execute(_LOCK, {"key": key})


def open_break(session: Session, system: str, sidecar: str) -> LineageBreak | None:
    """The break that stops a sidecar."""
    return session.exec(select(LineageBreak).where(*stopping(system, sidecar))).first()


def stopping(system: Any, sidecar: Any) -> list[Any]:
    """Which breaks stop a sidecar, for a query; names, or parameters of it."""
    return _open(system, sidecar, stops=True)


def require_whole(session: Session, system: str, sidecar: str) -> None:
    """Deny while a break of the sidecar is open. Raises `Denied` with `lineage.broken`."""
    found = open_break(session, system, sidecar)
    if found is not None:
        raise Denied(
            Reason.LINEAGE_BROKEN,
            f"break {found.id}, {found.kind}, is open since {found.opened_at:%Y-%m-%dT%H:%M:%SZ}; "
            f"look at it, then: placet lineage clear {found.id} --reason …",
            step="lineage",
        )


def refuse(plane: Plane, refused: Refused) -> None:
    """Count, keep and tell a batch that is not taken.

    Raises `Denied` with `lineage.broken` for a batch of a sidecar that is stopped already: nothing more is kept of
    it. Raises `Unavailable` while nothing can be kept.
    """
    digest = sha256(refused.body).hexdigest()
    reason = str(refused.denied.reason)
    plane.metrics.batches_refused.labels(refused.system, reason).inc()
    if refused.denied.reason == Reason.LINEAGE_BROKEN:
        return
    with plane.store.read() as session:
        if not _is_new(session, refused, digest):
            return
    key = None
    if refused.stops or len(refused.body) <= MAX_UNPROVED:
        key = f"quarantine/{refused.system}/{refused.sidecar}/{digest}.json"
        plane.objects.put(key, refused.body)
    row = LineageBreak(
        system=refused.system,
        sidecar=refused.sidecar,
        instance=refused.instance,
        kind=reason,
        detail=clean(printable(refused.denied.detail), _MAX_NOTE) or "",
        stops=refused.stops,
        body_sha256=digest,
        object=key,
    )
    with plane.store.write() as session:
        serialise(session, refused.system, refused.sidecar)
        if not _is_new(session, refused, digest):  # by another request, since we looked
            return
        session.add(row)
        session.flush()
    if row.stops:
        plane.metrics.breaks.labels(row.system, reason).inc()
        log.error("lineage break %s stops %s/%s: %s: %s", row.id, row.system, row.sidecar, reason, row.detail)
    else:
        log.warning("batch %s refused for %s/%s: %s: %s", row.id, row.system, row.sidecar, reason, row.detail)


def listed(session: Session, system: str | None = None) -> list[LineageBreak]:
    """What is open, newest first, those that stop a sidecar before the others."""
    query = select(LineageBreak).where(col(LineageBreak.cleared_at).is_(None))
    if system is not None:
        query = query.where(LineageBreak.system == system)
    return list(session.exec(query.order_by(col(LineageBreak.stops).desc(), col(LineageBreak.id).desc())))


def cleared(session: Session, system: str | None = None) -> list[LineageBreak]:
    """What was cleared last, newest first."""
    query = select(LineageBreak).where(col(LineageBreak.cleared_at).is_not(None))
    if system is not None:
        query = query.where(LineageBreak.system == system)
    return list(session.exec(query.order_by(col(LineageBreak.cleared_at).desc()).limit(MAX_CLEARED)))


def clear(session: Session, by: Access, identifier: int, reason: str) -> LineageBreak:
    """Let the sidecar go on. Who said so, and why, stays with the break. What the next batch must follow stays, too."""
    if not reason.strip():
        raise Invalid("say why: the reason stays with the break")
    row = session.get(LineageBreak, identifier, with_for_update=True)
    if row is None or by.system not in (None, row.system):
        raise NotFound(f"there is no break {identifier}")
    if row.cleared_at is not None:
        raise Conflict(f"break {identifier} was cleared by {row.cleared_by} at {row.cleared_at:%Y-%m-%dT%H:%M:%SZ}")
    row.cleared_at, row.cleared_by, row.cleared_token, row.note = now(), by.name, by.id, reason.strip()
    session.add(row)
    session.flush()
    log.warning(
        "lineage break %s of %s/%s is cleared by %s: %s",
        row.id,
        row.system,
        row.sidecar,
        printable(by.name),
        printable(row.note),
    )
    return row


def _open(system: Any, sidecar: Any | None, *, stops: bool) -> list[Any]:
    where: list[Any] = [
        LineageBreak.system == system,
        col(LineageBreak.stops).is_(stops),
        col(LineageBreak.cleared_at).is_(None),
    ]
    return where if sidecar is None else [*where, LineageBreak.sidecar == sidecar]


def _is_new(session: Session, refused: Refused, digest: str) -> bool:
    """Whether there is a row to be made: of those that stop nobody, not for a repeat, nor beyond the bounds."""
    if refused.stops:
        require_whole(session, refused.system, refused.sidecar)
        return True
    own = [*_open(refused.system, refused.sidecar, stops=False), col(LineageBreak.batch).is_(None)]
    if session.exec(select(LineageBreak.id).where(*own, LineageBreak.body_sha256 == digest)).first() is not None:
        return False
    everywhere = [*_open(refused.system, None, stops=False), col(LineageBreak.batch).is_(None)]
    return _count(session, own) < MAX_KEPT and _count(session, everywhere) < MAX_KEPT_OF_SYSTEM


def _count(session: Session, where: list[Any]) -> int:
    return session.exec(select(func.count()).select_from(LineageBreak).where(*where)).one()
