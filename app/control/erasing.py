"""Carries out what was ordered to be erased, batch by batch, to its end whatever happens on the way.

New objects without the entries are stored first. One transaction then makes the batch's row name them, empties the
decision rows and notes which objects are left over; those are deleted last, and only then it is done. Every step can be
repeated, so that a crash between two of them loses nothing, and leaves nothing for ever.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from app.control import batch_values, holds, raw_records, refused_copies
from app.control.plane import Plane
from app.control.problems import NotFound, Unavailable
from app.control.raw_records import Changed, Rewritten, Span
from app.control.store import (
    Batch,
    Decision,
    ErasedBatch,
    Erasure,
    Hold,
    batch_words,
    decision_row,
    first_line,
    sealing,
)
from app.control.store.bulk import chunks
from app.control.store.columns import now
from app.core import word_filter

log = logging.getLogger("placet.control")

#: Batches that are looked at in one round.
ROUND = 200
#: Batches that failed before and are tried again in one round.
RETRIES = 20
#: Batches that fail one after the other because a store does not answer, until the others are left for later.
OUTAGES = 3
#: How long objects stay that no row names any more: whoever read the row before is done by then.
GRACE = timedelta(seconds=2)

_BATCHES, _DECISIONS = (Decision.metadata.tables[name] for name in ("batch", "decision"))

#: What an erased decision's row holds in its columns. Its place, time, outcome and digests stay.
BLANK: dict[str, Any] = {
    "reasons": [],
    "subject_issuer": None,
    "subject_id": None,
    "action": None,
    "resource_type": None,
    "resource_id": None,
    "execution": None,
}


class Failed:
    """What failed in earlier rounds, by its row's id, with the error; longest ago first. Told once, and tried last."""

    def __init__(self) -> None:
        self.batches: dict[int, type[Exception]] = {}
        self.orders: dict[int, type[Exception]] = {}


def step(plane: Plane, failed: Failed | None = None) -> int:
    """Go on with what is ordered: one round. Gives how many batches were finished.

    No batch and no order keeps another from being carried out. `failed` is what this process knows of rounds before.
    """
    failed = failed or Failed()
    # What a hold keeps waiting comes last, so that it stands in nobody's way.
    order = (col(ErasedBatch.held_by).is_not(None), col(ErasedBatch.id))
    with plane.store.read() as session:
        query = select(ErasedBatch.id).where(col(ErasedBatch.removed_at).is_(None))
        due = [one or 0 for one in session.exec(query.order_by(*order).limit(ROUND + len(failed.batches)))]
    beside = Beside(plane)
    again = list(failed.batches)[:RETRIES]
    fresh = [one for one in due if one not in failed.batches][:ROUND]
    done = sum(_try_all(plane, beside, some, failed.batches) for some in (fresh, again))
    finish(plane, failed.orders)
    return done


def _try_all(plane: Plane, beside: Beside, identifiers: list[int], failed: dict[int, type[Exception]]) -> int:
    done = outages = 0
    for identifier in identifiers:
        try:
            done += _batch(plane, beside, identifier)
        except Exception as error:  # noqa: BLE001 - whatever it stumbles over is told, and keeps no other batch waiting
            _note("batch %s of an erasure cannot be rewritten", identifier, error, failed)
            # A store may refuse one key alone. Where it answers nothing, each batch would wait for it in vain.
            outages = outages + 1 if isinstance(error, Unavailable | SQLAlchemyError) else 0
            if outages == OUTAGES:
                break
        else:
            failed.pop(identifier, None)
            outages = 0
    return done


def _note(said: str, identifier: int, error: Exception, failed: dict[int, type[Exception]]) -> None:
    """Tell what failed unless it did so before, and put it behind all others."""
    if failed.pop(identifier, None) is not type(error):
        if isinstance(error, Changed | NotFound):
            log.error(said + ", see placet server fsck: %s", identifier, error)
        elif isinstance(error, Unavailable | SQLAlchemyError):
            log.warning(said + " now: %s", identifier, first_line(error))
        else:
            log.exception(said, identifier, exc_info=error)
    failed[identifier] = type(error)


def _batch(plane: Plane, beside: Beside, identifier: int) -> bool:
    """Take one batch to its end; False where a hold, or another process that was faster, keeps it for a later round."""
    with plane.store.read() as session:
        due = session.get_one(ErasedBatch, identifier)
        batch = session.get_one(Batch, due.batch)
        rows = _rows(session, batch, due)
        _require_written(session, due, session.get_one(Erasure, due.erasure))
    if due.removed_at is not None:
        return False
    if due.erased_at is None:
        numbers = _numbers(plane, batch, due, rows)
        rewritten = _without(plane, batch, numbers)
        if not _commit(plane, beside, due, batch, rewritten, numbers) or GRACE:
            return False
    elif now() - due.erased_at < GRACE:
        return False
    _remove(plane, identifier)
    return True


def _require_written(session: Session, *order: Erasure | ErasedBatch) -> None:
    """Whoever can write to the database alone orders nothing."""
    if not sealing.are_as_written(session, *order):
        raise Changed("the order is not as the control plane wrote it")


def _rows(session: Session, batch: Batch, due: ErasedBatch) -> list[Decision]:
    if due.decisions is None:
        return []
    found: list[Decision] = []
    for some in chunks(due.decisions):
        found += session.exec(select(Decision).where(Decision.batch == batch.id, col(Decision.id).in_(some)))
    return found


def _numbers(plane: Plane, batch: Batch, due: ErasedBatch, rows: list[Decision]) -> list[int]:
    """The numbers of the entries that go: all of the batch, or those of the rows."""
    if due.decisions is None:
        return list(range(len(raw_records.entries(plane.objects, batch))))
    return sorted(raw_records.numbers(plane.objects, batch, [row.position for row in rows]).values())


def _without(plane: Plane, batch: Batch, numbers: Collection[int]) -> Rewritten:
    span = Span(batch.system, batch.sidecar, batch.instance, batch.file, batch.first, batch.last)
    return raw_records.without(plane.objects, span, batch, batch.salts, numbers, batch.sha256)


def _commit(
    plane: Plane, beside: Beside, due: ErasedBatch, batch: Batch, rewritten: Rewritten, numbers: list[int]
) -> bool:
    """The one transaction after which the entries are gone from what can be found."""
    left = raw_records.unpack(rewritten.object, plane.objects.get(rewritten.object))
    words = word_filter.build(left)
    leftover = beside.replaced(batch, rewritten)
    with plane.store.write() as session:
        holds.serialise(session)
        # What refers to the row, as a new sink does, does not wait for this.
        row = session.get_one(Batch, batch.id, with_for_update={"key_share": True})
        task = session.get_one(ErasedBatch, due.id, with_for_update=True)
        _require_written(session, task, session.get_one(Erasure, task.erasure))
        if task.erased_at is not None or (row.object, row.salts) != (batch.object, batch.salts):
            return False  # another order changed the batch meanwhile: look again
        hold = holds.covering(session, row, task.decisions)
        if hold is not None:
            return _waits(session, task, hold)
        task.leftover = leftover
        seals = sealing.seals_of(session)
        if not seals.hold("batch", row.model_dump()):
            raise Changed("the row of its batch is not as the control plane wrote it")
        row.object, row.salts, row.sha256 = rewritten.object, rewritten.salts, ""
        row.seal = seals.own("batch", row.model_dump())
        task.erased_at, task.held_by = now(), None
        task.numbers = None if task.decisions is None else numbers
        session.add_all([row, task])
        session.flush()
        session.execute(update(_BATCHES).where(_BATCHES.c.id == row.id).values({batch_words: words}))
        for some in chunks(task.decisions or ()):
            where = (_DECISIONS.c.batch == row.id, _DECISIONS.c.id.in_(some))
            session.execute(update(_DECISIONS).where(*where).values(**BLANK, erased=task.erasure))
        _move(session, batch.id or 0, rewritten.moved or {})
        batch_values.renew(session, batch.id or 0)
    return True


def _waits(session: Session, task: ErasedBatch, hold: Hold) -> bool:
    if task.held_by != hold.id:
        task.held_by = hold.id
        session.add(task)
        log.warning("erasure %s waits with batch %s for hold %s", task.erasure, task.batch, hold.id)
    return False


class Beside:
    """Objects of the same entries that a repeat, or a crash half-way, left beside those that a batch's row names."""

    def __init__(self, plane: Plane) -> None:
        self._objects = plane.objects
        #: Keys by how they begin, of the directory that was listed last: most batches of a round lie in one.
        self._listed: tuple[str, dict[str, list[str]]] = ("", {})

    def replaced(self, batch: Batch, rewritten: Rewritten) -> list[str]:
        """The objects that hold the entries still."""
        directory = batch.object.rpartition("/")[0]
        if self._listed[0] != directory:
            found: dict[str, list[str]] = defaultdict(list)
            for key, _ in self._objects.keys(directory):
                found[_begin(key, directory)].append(key)
            self._listed = directory, found
        keys = {*self._listed[1].get(_begin(batch.object, directory), ()), batch.object}
        if batch.salts is not None:
            keys.add(batch.salts)
        return sorted(keys - {rewritten.object, rewritten.salts})


def _begin(key: str, directory: str) -> str:
    """The byte at which the batch of an object begins, as its name says it."""
    return key[len(directory) + 1 :].partition("-")[0]


def _move(session: Session, batch: int, moved: Mapping[int, int]) -> None:
    """Records that were plain lines are found by their numbers from now on, and so are their rows."""
    rows: dict[int, int] = {}
    # In this order no row is moved twice: no entry's number is larger than the byte at which it begins.
    for position, number in sorted(moved.items()):
        rows[decision_row(batch, position)] = new = decision_row(batch, number)
        where = (_DECISIONS.c.batch == batch, _DECISIONS.c.position == position)
        session.execute(update(_DECISIONS).where(*where).values(position=number, id=new))
    for order in session.exec(select(ErasedBatch).where(ErasedBatch.batch == batch)) if rows else ():
        if order.decisions is not None:
            order.decisions = sorted(rows.get(one, one) for one in order.decisions)
            session.add(order)


def _remove(plane: Plane, identifier: int) -> None:
    """Delete what is left over, and say so."""
    with plane.store.read() as session:
        task = session.get_one(ErasedBatch, identifier)
        batch = session.get_one(Batch, task.batch)
    for key in task.leftover:
        if key not in (batch.object, batch.salts):
            plane.objects.remove(key)
    with plane.store.write() as session:
        row = session.get_one(ErasedBatch, identifier, with_for_update=True)
        row.removed_at, row.leftover = row.removed_at or now(), []
        session.add(row)


def finish(plane: Plane, failed: dict[int, type[Exception]]) -> None:
    """Note which orders are carried out whole; of the last part, copies in refused batches, see `refused_copies`."""
    unfinished = select(ErasedBatch.erasure).where(col(ErasedBatch.removed_at).is_(None))
    query = select(Erasure).where(col(Erasure.done_at).is_(None), col(Erasure.id).not_in(unfinished))
    with plane.store.read() as session:
        due = list(session.exec(query))
    for one in sorted(due, key=lambda row: row.id in failed):
        try:
            _finish(plane, one)
        except Exception as error:  # noqa: BLE001 - is told, and keeps no other order waiting
            _note("the end of erasure %s cannot be reached", one.id or 0, error, failed)
        else:
            failed.pop(one.id or 0, None)


def _finish(plane: Plane, order: Erasure) -> None:
    with plane.store.read() as session:
        _require_written(session, order)
    if not refused_copies.remove(plane, order.copies):
        return
    with plane.store.write() as session:
        row = session.get_one(Erasure, order.id, with_for_update=True)
        row.done_at = row.done_at or now()
        session.add(row)
    log.warning("erasure %s is done", order.id)
