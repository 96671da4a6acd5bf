"""Legal holds: records that nobody may erase, and that retention leaves, until a named person releases them.

Placing a hold and taking the last copy of a record away exclude each other (`serialise`), so that a hold which was
placed covers all that was there then.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from sqlalchemy import case, func, true
from sqlmodel import Session, and_, col, or_, select

from app.control import systems
from app.control.problems import Conflict, Invalid, NotFound
from app.control.record_lines import clean
from app.control.store import Batch, Decision, Hold
from app.control.store.bulk import chunks
from app.control.store.columns import now
from app.control.tokens import Access
from app.core.complaint import printable
from app.core.errors import Denied
from app.core.instant import written
from app.core.masking import MARK
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")

#: Holds in force at most, of one system, and of those that are for all: who may hold in one system alone must not use
#: up what others need.
MAX_ACTIVE = 1000
#: Holds that are listed at most.
MAX_LISTED = 10_000

#: The PostgreSQL advisory lock ("hold" in ASCII).
_LOCK = 0x686F6C64
#: Holds of one query: SQLite follows no deeper condition than 1,000.
_HOLDS = 50


def serialise(session: Session) -> None:
    """Until this transaction ends nobody else places a hold, or erases. On SQLite nobody else writes anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def place(
    session: Session,
    by: Access,
    reason: str,
    *,
    system: str | None = None,
    issuer: str | None = None,
    subject: str | None = None,
    execution: str | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
) -> Hold:
    """Place a hold on what all the given members fit. Raises `Invalid`, `Conflict`."""
    if not reason.strip():
        raise Invalid("say why: the reason stays with the hold")
    if (issuer is None) != (subject is None):
        raise Invalid("a subject is named by its issuer and its id")
    if (system, subject, execution, since_ns, until_ns) == (None,) * 5:
        raise Invalid("say what to hold: a system, a subject, an execution or a time")
    if since_ns is not None and until_ns is not None and until_ns < since_ns:
        raise Invalid("the hold ends before it begins")
    if system is not None:
        systems.find(session, system)
    serialise(session)
    same = Hold.system == system if system is not None else col(Hold.system).is_(None)
    if session.exec(select(func.count()).where(col(Hold.released_at).is_(None), same)).one() >= MAX_ACTIVE:
        where = f"in {system}" if system is not None else "in all systems"
        raise Conflict(f"{MAX_ACTIVE} holds are in force {where}; release some")
    row = Hold(
        system=system,
        subject_issuer=clean(issuer),
        subject_id=clean(subject),
        execution=clean(execution),
        since_ns=since_ns,
        until_ns=until_ns,
        reason=reason.strip(),
        placed_by=by.name,
        placed_token=by.id,
    )
    session.add(row)
    session.flush()
    log.warning("hold %s is placed by %s: %s", row.id, printable(by.name), printable(row.reason))
    return row


def release(session: Session, by: Access, identifier: int, reason: str) -> Hold:
    """Release a hold. Who did so, and why, stays with it. Raises `NotFound`, `Conflict`, `Invalid`."""
    if not reason.strip():
        raise Invalid("say why: the reason stays with the hold")
    row = session.get(Hold, identifier, with_for_update=True)
    if row is None or by.system not in (None, row.system):
        raise NotFound(f"there is no hold {identifier}")
    if row.released_at is not None:
        raise Conflict(f"hold {identifier} was released by {row.released_by} at {written(row.released_at)}")
    row.released_at, row.released_by, row.released_token, row.note = now(), by.name, by.id, reason.strip()
    session.add(row)
    session.flush()
    log.warning("hold %s is released by %s: %s", row.id, printable(by.name), printable(row.note))
    return row


def listed(session: Session, system: str | None, *, released: bool = False) -> list[Hold]:
    """What is in force, oldest first, or what was released; of one system with what is for all."""
    query = select(Hold).where(col(Hold.released_at).is_not(None) if released else col(Hold.released_at).is_(None))
    if system is not None:
        query = query.where(_for(system))
    return list(session.exec(query.order_by(col(Hold.id)).limit(MAX_LISTED)))


def is_any(session: Session, system: str) -> bool:
    """Whether a hold is in force that is for all systems, or of this one."""
    return session.exec(select(Hold.id).where(*_in_force(system)).limit(1)).first() is not None


def covering(session: Session, batch: Batch, decisions: Collection[int] | None = None) -> Hold | None:
    """A hold in force that covers one of these decision rows of a batch; of all of the batch where none are given."""
    found = list(session.exec(select(Hold).where(*_in_force(batch.system)).order_by(col(Hold.id))))
    if decisions is None:
        whole = next((hold for hold in found if _covers_batch(hold, batch)), None)
        if whole is not None:
            return whole
    for first in range(0, len(found), _HOLDS):
        some = found[first : first + _HOLDS]
        for ids in [None] if decisions is None else chunks(decisions):
            hold = _first(session, batch, some, ids)
            if hold is not None:
                return hold
    return None


def _first(session: Session, batch: Batch, some: list[Hold], ids: Collection[int] | None) -> Hold | None:
    """One of these holds that covers a row: one query, since there may be a thousand for each of many batches."""
    which = case(*((and_(*_where(hold)), hold.id) for hold in some))
    # What was erased already holds nothing more.
    rows: list[Any] = [Decision.batch == batch.id, col(Decision.erased).is_(None)]
    if ids is not None:
        rows.append(col(Decision.id).in_(ids))
    found = session.exec(select(func.min(which)).where(*rows)).one()
    return next((hold for hold in some if hold.id == found), None)


def _in_force(system: str) -> tuple[Any, ...]:
    return col(Hold.released_at).is_(None), _for(system)


def _for(system: str) -> Any:
    """The holds that are for all systems, and those of this one."""
    return or_(col(Hold.system).is_(None), col(Hold.system) == system)


def _covers_batch(hold: Hold, batch: Batch) -> bool:
    """Whether a hold of a system, or of a time, covers a batch by itself: also lines that are no decisions."""
    if hold.subject_id is not None or hold.execution is not None:
        return False
    if batch.oldest_ns is None or batch.newest_ns is None:
        return True  # nothing tells of when its lines are
    begins_after = hold.until_ns is not None and batch.oldest_ns > hold.until_ns
    ends_before = hold.since_ns is not None and batch.newest_ns < hold.since_ns
    return not begins_after and not ends_before


def _where(hold: Hold) -> list[Any]:
    """The rows that it covers, of a batch of its system."""
    where: list[Any] = [true()]
    if hold.subject_id is not None:
        # Of a system whose rules keep subjects out of records, or all of a result, nobody can say whose these are.
        same = and_(Decision.subject_issuer == hold.subject_issuer, Decision.subject_id == hold.subject_id)
        subject = (col(Decision.subject_issuer), col(Decision.subject_id))
        where.append(or_(same, *(column.startswith(MARK) | column.is_(None) for column in subject)))
    if hold.execution is not None:
        execution, action = col(Decision.execution), col(Decision.action)
        # Most records have no execution; where there is no action either, the whole input was kept out.
        no_input = and_(execution.is_(None), or_(action.is_(None), action.startswith(MARK)))
        where.append(or_(execution == hold.execution, execution.startswith(MARK), no_input))
    if hold.since_ns is not None:
        where.append(Decision.time_ns >= hold.since_ns)
    if hold.until_ns is not None:
        where.append(Decision.time_ns <= hold.until_ns)
    return where


def denied(hold: Hold) -> Denied:
    """Why something is not erased."""
    since = f"{hold.placed_at:%Y-%m-%d}"
    return Denied(
        Reason.HOLD_ACTIVE, f"hold {hold.id} by {hold.placed_by} since {since}: {hold.reason}", step="erasure"
    )
