"""Breaks of lineage: signed batches that did not fit are kept, told, and stop their sidecar until a person clears them.

Where the system bears such a break for a time, what fits is taken until then, and the sidecar is told how long that is.
A batch that the sidecar itself did not sign stops nobody: a stolen API token is no way to break a sidecar. It is kept
as well, within bounds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import BigInteger, bindparam, func, or_
from sqlmodel import Session, col, select

from app.control.plane import Plane
from app.control.problems import Conflict, Invalid, NotFound
from app.control.record_lines import clean
from app.control.store import LineageBreak, System
from app.control.store.columns import now
from app.control.tokens import Access
from app.core import break_limit
from app.core.complaint import printable
from app.core.errors import Denied
from app.core.instant import written
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")

#: How many refused batches that no sidecar signed are kept for one sidecar, and for a system; and how many bytes of
#: each. Beyond that they are only counted.
MAX_KEPT = 64
MAX_KEPT_OF_SYSTEM = 512
MAX_UNPROVED = 4 * 1024 * 1024
#: How many that stop a sidecar after a time are kept for one sidecar: it may name as many instances as it likes.
MAX_BORNE = 16

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


class Borne(Denied):
    """A batch is not taken, and its sidecar goes on for a time: `broken` is the break that then stops it."""

    def __init__(self, denied: Denied, broken: LineageBreak) -> None:
        super().__init__(denied.reason, denied.detail, step=denied.step, field=denied.field)
        self._told = told(broken)

    def as_dict(self) -> dict[str, Any]:
        """The denial with what the sidecar is told of the break."""
        return super().as_dict() | self._told


def serialise(session: Session, system: str, sidecar: str) -> None:
    """Until this transaction ends, no other one changes this sidecar's lineage. On SQLite nobody else writes anyway."""
    if session.get_bind().dialect.name == "postgresql":
        key = int.from_bytes(sha256(f"lineage/{system}/{sidecar}".encode()).digest()[:8], signed=True)
        session.connection().execute(_LOCK, {"key": key})


def open_break(session: Session, system: str, sidecar: str) -> LineageBreak | None:
    """The break that stops a sidecar."""
    return session.exec(select(LineageBreak).where(*stopping(system, sidecar, now()))).first()


def stopping(system: Any, sidecar: Any, at: Any) -> list[Any]:
    """Which breaks stop a sidecar at a time, for a query; names, or parameters of it."""
    since = col(LineageBreak.stops_at)
    return [*_open(system, sidecar, stops=True), or_(since.is_(None), since <= at)]


def pending(session: Session, system: str, sidecar: str) -> LineageBreak | None:
    """The break that is the next to stop a sidecar which none stops yet. No later one gives it more time."""
    waiting = [*_open(system, sidecar, stops=True), col(LineageBreak.stops_at).is_not(None)]
    return session.exec(
        select(LineageBreak).where(*waiting).order_by(col(LineageBreak.stops_at), col(LineageBreak.id))
    ).first()


def told(row: LineageBreak) -> dict[str, Any]:
    """What a sidecar is told of a break that is `pending`: no date, since its clock may be another."""
    assert row.stops_at is not None
    return {"break": row.id, "stops_in_seconds": max(int((row.stops_at - now()).total_seconds()), 0)}


def require_whole(session: Session, system: str, sidecar: str) -> None:
    """Deny while a break of the sidecar is open. Raises `Denied` with `lineage.broken`."""
    found = open_break(session, system, sidecar)
    if found is not None:
        raise Denied(
            Reason.LINEAGE_BROKEN,
            f"break {found.id}, {found.kind}, is open since {written(found.opened_at)}; "
            f"look at it, then: placet lineage clear {found.id} --reason …",
            step="lineage",
        )


def refuse(plane: Plane, refused: Refused) -> Denied:
    """Count, keep and tell a batch that is not taken. Returns what its sidecar is answered.

    Raises `Denied` with `lineage.broken` for a batch of a sidecar that is stopped already: nothing more is kept of
    it. Raises `Unavailable` while nothing can be kept.
    """
    digest = sha256(refused.body).hexdigest()
    reason = str(refused.denied.reason)
    plane.metrics.batches_refused.labels(refused.system, reason).inc()
    if refused.denied.reason == Reason.LINEAGE_BROKEN:
        return refused.denied
    with plane.store.read() as session:
        opened_at, stops_at = _times(session, refused)
        if not _is_new(session, refused, digest, stops_at):
            return _answer(session, refused)
    key = None
    if refused.stops or len(refused.body) <= MAX_UNPROVED:
        key = f"quarantine/{refused.system}/{refused.sidecar}/{digest}.json"
    row = LineageBreak(
        system=refused.system,
        sidecar=refused.sidecar,
        instance=refused.instance,
        kind=reason,
        detail=clean(printable(refused.denied.detail), _MAX_NOTE) or "",
        stops=refused.stops,
        stops_at=stops_at,
        opened_at=opened_at,
        body_sha256=digest,
        object=key,
    )
    with plane.store.write() as session:
        serialise(session, refused.system, refused.sidecar)
        if not _is_new(session, refused, digest, stops_at):  # by another request, since we looked
            return _answer(session, refused)
        session.add(row)
        session.flush()
        if key is not None:  # now that a row names it: what none names, no erasure finds
            plane.objects.put(key, refused.body)
        answer = _answer(session, refused)
    if row.stops:
        plane.metrics.breaks.labels(row.system, reason).inc()
        when = f"stops {row.system}/{row.sidecar}" + (f" at {written(row.stops_at)}" if row.stops_at else "")
        log.error("lineage break %s %s: %s: %s", row.id, when, reason, row.detail)
    else:
        log.warning("batch %s refused for %s/%s: %s: %s", row.id, row.system, row.sidecar, reason, row.detail)
    return answer


def times(limit: break_limit.Limit) -> tuple[datetime, datetime | None]:
    """When a break is opened that is opened now, and from when on it stops its sidecar: in whole seconds, as signed."""
    at = now()
    return at, (at + limit.lasts).replace(microsecond=0) if limit.lasts else None


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
        raise Conflict(f"break {identifier} was cleared by {row.cleared_by} at {written(row.cleared_at)}")
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


def _times(session: Session, refused: Refused) -> tuple[datetime, datetime | None]:
    system = session.get(System, refused.system) if refused.stops else None
    return times(break_limit.of(system.lineage_limits, refused.denied.reason) if system else break_limit.Limit())


def _is_new(session: Session, refused: Refused, digest: str, stops_at: datetime | None) -> bool:
    """Whether there is a row to be made.

    Of those that stop their sidecar after a time, the first of its kind and instance says all: the sidecar sends it
    again and again, and what comes behind it does not fit either. Nor of more than are kept, which stop it by then
    anyway. Of those that stop nobody, not for a repeat, nor beyond the bounds.
    """
    if refused.stops:
        require_whole(session, refused.system, refused.sidecar)
        if stops_at is None:
            return True
        sooner = [*_open(refused.system, refused.sidecar, stops=True), col(LineageBreak.stops_at) <= stops_at]
        alike = (LineageBreak.kind == str(refused.denied.reason), LineageBreak.instance == refused.instance)
        if session.exec(select(LineageBreak.id).where(*sooner, *alike).limit(1)).first() is not None:
            return False
        return _count(session, [*sooner, col(LineageBreak.batch).is_(None)]) < MAX_BORNE
    own = [*_open(refused.system, refused.sidecar, stops=False), col(LineageBreak.batch).is_(None)]
    if session.exec(select(LineageBreak.id).where(*own, LineageBreak.body_sha256 == digest)).first() is not None:
        return False
    everywhere = [*_open(refused.system, None, stops=False), col(LineageBreak.batch).is_(None)]
    return _count(session, own) < MAX_KEPT and _count(session, everywhere) < MAX_KEPT_OF_SYSTEM


def _answer(session: Session, refused: Refused) -> Denied:
    """With the time that is left to a sidecar of which the refusal is a break, unless it is stopped already."""
    of = (refused.system, refused.sidecar)
    if not refused.stops or open_break(session, *of) is not None or (next_one := pending(session, *of)) is None:
        return refused.denied
    return Borne(refused.denied, next_one)


def _count(session: Session, where: list[Any]) -> int:
    return session.exec(select(func.count()).select_from(LineageBreak).where(*where)).one()
