"""Where records are forwarded to: sinks by name, and the batches that each has not taken yet.

A batch is queued for its sinks in the transaction that stores it, and leaves the queue when a sink has taken it: so
each sink gets every batch at least once, whatever is killed in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import BigInteger, bindparam, delete, insert, literal, text
from sqlmodel import Session, col, func, or_, select

from app.control import sinks, systems
from app.control.problems import Conflict, NotFound
from app.control.store import Batch, Forward, ForwardBatch, Store, sealing
from app.control.store.bulk import insert_where

#: Sinks that a control plane has: each costs every ingest a row.
MAX_FORWARDS = 32

#: Batches that are queued in one transaction.
_AT_ONCE = 1000

_KEY = col(ForwardBatch.forward), col(ForwardBatch.batch)

#: Made once: each batch needs it.
_ENQUEUE = (
    insert(ForwardBatch)
    .from_select(
        ["forward", "batch"],
        select(Forward.name, bindparam("row", type_=BigInteger)).where(
            or_(col(Forward.system).is_(None), col(Forward.system) == bindparam("of"))
        ),
    )
    .returning(*_KEY)
)


def add(session: Session, name: str, target: str, system: str | None, added_by: str) -> Forward:
    """Add a sink of what arrives from now on. Raises `Invalid` for an unusable target."""
    sinks.check(target)
    if system is not None:
        systems.find(session, system)
    if session.get(Forward, name) is not None:
        raise Conflict(f"there is a sink {name} already; remove it first, or choose another name")
    if session.exec(select(func.count()).select_from(Forward)).one() >= MAX_FORWARDS:
        raise Conflict(f"there are {MAX_FORWARDS} sinks already")
    found = Forward(name=name, target=target, system=system, added_by=added_by)
    session.add(found)
    return found


def queue_stored(store: Store, name: str) -> None:
    """Queue what was stored before a sink was added, some batches at a time. What came since may be queued twice."""
    with store.write() as session:
        if session.connection().dialect.name == "postgresql":
            # Whoever was storing a batch, and saw no such sink, is done when this is granted.
            session.execute(text("LOCK TABLE batch IN SHARE MODE"))
        last = session.exec(select(func.max(Batch.id))).one() or 0
    for first in range(0, last, _AT_ONCE):
        with store.write() as session:
            found = session.get(Forward, name)
            if found is None:  # somebody has removed it meanwhile
                return
            stored = select(literal(name), Batch.id).where(col(Batch.id) > first, col(Batch.id) <= first + _AT_ONCE)
            if found.system is not None:
                stored = stored.where(Batch.system == found.system)
            rows = insert_where(session.connection(), ForwardBatch).from_select(["forward", "batch"], stored)
            queued = session.connection().execute(rows.on_conflict_do_nothing().returning(*_KEY))
            sealing.seal(session, ForwardBatch, queued)


def listed(session: Session) -> Sequence[tuple[Forward, int]]:
    """All sinks, each with how many batches it has not taken yet."""
    queued = dict(session.exec(select(ForwardBatch.forward, func.count()).group_by(col(ForwardBatch.forward))).all())
    found = session.exec(select(Forward).order_by(col(Forward.name))).all()
    return [(one, queued.get(one.name, 0)) for one in found]


def remove(session: Session, name: str) -> None:
    """Remove a sink, and forget what it has not taken."""
    found = session.get(Forward, name)
    if found is None:
        raise NotFound(f"there is no sink {name}")
    session.execute(delete(ForwardBatch).where(col(ForwardBatch.forward) == name))
    session.delete(found)


def enqueue(session: Session, batch: Batch) -> None:
    """Queue a new batch for its sinks, in the transaction that stores it."""
    queued = session.connection().execute(_ENQUEUE, {"of": batch.system, "row": batch.id})
    sealing.seal(session, ForwardBatch, queued)
