"""Search decisions, newest first, in pages that a cursor joins.

Where an index gives the rows in order, the database does it all. Else batches are asked (`app.control.batch_search`).
Then the work for one page is bounded in time: a page may be short, or empty, and its cursor goes on where the work
ended. Only a page without a cursor is the last one.
"""

from __future__ import annotations

import time

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.control.batch_search import ByBatch
from app.control.decision_filter import NEWEST_FIRST, Filter, Page, Place
from app.control.objects import Objects
from app.control.sifted_records import SiftedRecords
from app.control.store import Batch, Decision

MAX_PAGE = 200
#: Seconds of work on batches for one page.
PATIENCE = 0.5


def search(
    session: Session,
    objects: Objects,
    wanted: Filter,
    limit: int,
    cursor: str | None = None,
    patience: float | None = None,
) -> Page:
    """One page. Pages are cut by (time, row), so records that arrive meanwhile shift nothing.

    `patience`: seconds of work on batches for it; `PATIENCE` where none is given.
    """
    place = Place.read(cursor) if cursor else None
    if wanted.has_index and wanted.wanted is None:
        return _by_index(session, wanted, limit, place)
    deadline = time.monotonic() + (PATIENCE if patience is None else patience)
    return ByBatch(session, objects, wanted, limit, place).page(deadline)


def _by_index(session: Session, wanted: Filter, limit: int, place: Place | None) -> Page:
    found = list(session.exec(by_index(wanted, limit + 1, place)))
    items = found[:limit]
    return Page(items, Place.of(items[-1]).cursor() if len(found) > limit else None)


def by_index(wanted: Filter, limit: int, place: Place | None) -> SelectOfScalar[Decision]:
    """The query for decisions that an index gives in their order."""
    query = select(Decision).where(*wanted.conditions(), *([place.after()] if place else []))
    return query.order_by(*NEWEST_FIRST).limit(limit)


def in_batch(session: Session, objects: Objects, wanted: Filter, number: int) -> list[Decision]:
    """The decisions of one batch that fit, in the order of its entries. What cannot be read is not among them."""
    rows = select(Decision).where(Decision.batch == number, *wanted.conditions()).order_by(col(Decision.position))
    found = list(session.exec(rows))
    content = wanted.wanted
    if content is None:
        return found
    found = [one for one in found if one.erased is None]
    if not found:
        return []
    records = SiftedRecords(objects, session.get_one(Batch, number), content)
    if not records.place([one.position for one in found]):
        return []
    return [one for one in found if records.hold(one.position)]
