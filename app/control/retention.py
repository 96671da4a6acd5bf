"""How long records are kept: what is past its time is erased whole batches at a time, as if it had been ordered.

Rows of batches, evidence and leaf hashes stay, so that the chain of batches holds, and proofs of what others kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete
from sqlmodel import Session, col, exists, select

from app.control import batch_values, holds, systems
from app.control.plane import Plane
from app.control.problems import Invalid, NotFound
from app.control.store import Batch, Decision, ErasedBatch, Erasure, LineageBreak, Retention, sealing
from app.control.store.columns import now
from app.control.tokens import Access
from app.core.complaint import printable

log = logging.getLogger("placet.control")

#: Batches that one round takes of a system.
ROUND = 500
#: Batches that are looked at together.
_PAGE = 200
#: Days: what is kept longer is kept for ever.
MAX_DAYS = 36_500

#: Of a batch: that all of it is to be erased, and that it is, while its decision rows are there still.
_WHOLE = select(ErasedBatch.id).where(ErasedBatch.batch == Batch.id, col(ErasedBatch.decisions).is_(None))
_GONE = _WHOLE.where(col(ErasedBatch.removed_at).is_not(None), col(ErasedBatch.rows_deleted_at).is_(None))


def put(session: Session, by: Access, system: str, records_days: int, columns_days: int | None) -> Retention:
    """Set how long a system's records are kept, and the searchable columns. Raises `Invalid`, `NotFound`."""
    systems.find(session, system)
    if columns_days is not None and columns_days < records_days:
        raise Invalid("columns are kept at least as long as the records that they are of")
    row = session.get(Retention, system) or Retention(system=system, records_days=records_days, set_by=by.name)
    row.records_days, row.columns_days = records_days, columns_days
    row.set_at, row.set_by, row.set_token = now(), by.name, by.id
    session.add(row)
    session.flush()
    log.warning("records of %s are kept %s days, by %s", system, records_days, printable(by.name))
    return row


def get(session: Session, system: str) -> Retention | None:
    """What is set of a system; None: everything is kept. Raises `NotFound`."""
    systems.find(session, system)
    return session.get(Retention, system)


def remove(session: Session, by: Access, system: str) -> None:
    """Keep everything that is there from now on. Raises `NotFound`."""
    row = get(session, system)
    if row is None:
        raise NotFound(f"nothing is set for {system}")
    session.delete(row)
    log.warning("records of %s are kept for ever, by %s", system, printable(by.name))


def step(plane: Plane) -> int:
    """Order what is past its time to be erased, and delete rows that are: one round. Gives how many batches."""
    with plane.store.read() as session:
        rules = [one for one in session.exec(select(Retention).order_by(Retention.system)) if _is_written(session, one)]
    found = 0
    for rule in rules:
        with plane.store.read() as session:  # to look takes long where there is much, and may keep nobody from writing
            erased, emptied = (
                [batch.id or 0 for _, batch in zip(range(ROUND), batches, strict=False)]
                for batches in (_to_erase(session, rule), _to_empty(session, rule))
            )
            copies = _refused(session, rule)
        if erased or copies:
            found += _order(plane, rule, erased, copies)
        found += sum(_delete_rows(plane, rule, batch) for batch in emptied)
    return found


def _is_written(session: Session, rule: Retention) -> bool:
    """Whoever can write to the database alone has nothing deleted."""
    if sealing.are_as_written(session, rule):
        return True
    log.error("the retention of %s is not as it was set, see placet server fsck: nothing is deleted by it", rule.system)
    return False


def _again(session: Session, rule: Retention) -> bool:
    """Keep others from placing holds and from ordering; whether the rule is still what it was when we looked."""
    holds.serialise(session)
    now_set = session.get(Retention, rule.system)
    return now_set is not None and (now_set.set_at, now_set.records_days) == (rule.set_at, rule.records_days)


def _to_erase(session: Session, rule: Retention) -> Iterator[Batch]:
    return _past(session, rule.system, rule.records_days, ~exists(_WHOLE))


def _to_empty(session: Session, rule: Retention) -> Iterator[Batch]:
    """Batches whose records are gone, and whose decision rows are past their time too."""
    if rule.columns_days is None:
        return iter(())
    return _past(session, rule.system, rule.columns_days, exists(_GONE))


def _order(plane: Plane, rule: Retention, batches: list[int], copies: list[int]) -> int:
    """Order what was found. A hold that was placed meanwhile makes it wait, as it does any order."""
    with plane.store.write() as session:
        if not _again(session, rule):
            return 0
        query = select(Batch.id).where(col(Batch.id).in_(batches), ~exists(_WHOLE)).order_by(col(Batch.id))
        batches, copies = [one or 0 for one in session.exec(query)], _not_ordered(session, copies)
        if not batches and not copies:
            return 0
        order = Erasure(
            kind="retention",
            system=rule.system,
            reason=f"records are kept for {rule.records_days} days",
            decisions=len(batches),
            copies=copies,
            asked_by=rule.set_by,
            asked_token=rule.set_token,
        )
        session.add(order)
        session.flush()
        session.add_all(ErasedBatch(erasure=order.id or 0, batch=batch) for batch in batches)
        session.flush()
    return len(batches) + len(copies)


def _refused(session: Session, rule: Retention) -> list[int]:
    """Breaks that are cleared, and whose refused batches are past their time. None while a hold is in force."""
    if holds.is_any(session, rule.system):
        return []
    query = select(LineageBreak.id).where(
        LineageBreak.system == rule.system,
        col(LineageBreak.object).is_not(None),
        col(LineageBreak.cleared_at).is_not(None),
        LineageBreak.opened_at < _moment(rule.records_days),
    )
    return _not_ordered(session, [one or 0 for one in session.exec(query.order_by(col(LineageBreak.id)))])


def _not_ordered(session: Session, copies: list[int]) -> list[int]:
    ordered = {one for row in session.exec(select(Erasure).where(col(Erasure.done_at).is_(None))) for one in row.copies}
    return [one for one in copies if one not in ordered]


def _delete_rows(plane: Plane, rule: Retention, identifier: int) -> int:
    """Delete the decision rows of a batch, unless a hold was placed on them meanwhile: a transaction for each."""
    with plane.store.write() as session:
        batch = session.get(Batch, identifier)
        if not _again(session, rule) or batch is None or holds.covering(session, batch) is not None:
            return 0
        session.execute(delete(Decision).where(col(Decision.batch) == identifier))
        batch_values.remove(session, identifier)
        for row in session.exec(select(ErasedBatch).where(ErasedBatch.batch == identifier)):
            row.rows_deleted_at = now()
            session.add(row)
    return 1


def _past(session: Session, system: str, days: int, condition: ColumnElement[bool]) -> Iterator[Batch]:
    """Batches that were received longer ago, fit the condition, and are covered by no hold."""
    before, after = _moment(days), 0
    while True:
        query = select(Batch).where(
            Batch.system == system, Batch.received_at < before, col(Batch.id) > after, condition
        )
        page = list(session.exec(query.order_by(col(Batch.id)).limit(_PAGE)))
        yield from (batch for batch in page if holds.covering(session, batch) is None)
        if len(page) < _PAGE:
            return
        after = page[-1].id or 0


def _moment(days: int) -> datetime:
    return now() - timedelta(days=days)
