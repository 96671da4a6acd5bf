"""Search decisions, newest first, in pages that a cursor joins.

Where an index gives the rows in order, the database does it all. Else batches are asked, newest first: their filters
(`app.core.word_filter`) rule most of them out, and the records of the others are read and compared exactly. Then the
work for one page is bounded in time: a page may be short, or empty, and its cursor goes on where the work ended. Only
a page without a cursor is the last one.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, cast, func, literal, or_
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select, tuple_
from sqlmodel.sql.expression import SelectOfScalar

from app.control import raw_records
from app.control.decision_filter import Filter, Place
from app.control.objects import Objects
from app.control.problems import NotFound
from app.control.raw_records import Changed
from app.control.store import Batch, Decision
from app.control.store.decision import batch_words
from app.core import record_frames, word_filter
from app.core.record_frames import Sifted
from app.core.record_words import Wanted

MAX_PAGE = 200
#: Seconds of work on batches for one page.
PATIENCE = 0.5
#: Batches whose filters are asked at once: first few, which is enough where much fits, then more.
_FIRST, _TOGETHER = 16, 500
#: Batches whose rows are asked at once, at most.
_MOST_OF_ROWS = 64
_LATEST = 2**63 - 1


@dataclass(frozen=True)
class Page:
    """Some decisions and where the next older ones begin: None when there are no more."""

    items: list[Decision]
    next: str | None
    #: Batches whose records could not be searched, as they are not what was stored: `placet server fsck` says more.
    unread: list[str] = field(default_factory=list)


def search(
    session: Session,
    objects: Objects,
    wanted: Filter,
    limit: int,
    cursor: str | None = None,
    patience: float = PATIENCE,
) -> Page:
    """One page. Pages are cut by (time, row), so records that arrive meanwhile shift nothing."""
    place = Place.read(cursor) if cursor else None
    if wanted.has_index and wanted.wanted is None:
        return _by_index(session, wanted, limit, place)
    return _ByBatch(session, objects, wanted, limit, place).page(time.monotonic() + patience)


def _by_index(session: Session, wanted: Filter, limit: int, place: Place | None) -> Page:
    found = list(session.exec(by_index(wanted, limit + 1, place)))
    items = found[:limit]
    return Page(items, Place.of(items[-1]).cursor() if len(found) > limit else None)


def by_index(wanted: Filter, limit: int, place: Place | None) -> SelectOfScalar[Decision]:
    """The query for decisions that an index gives in their order."""
    query = select(Decision).where(*wanted.conditions(), *([place.after()] if place else []))
    return query.order_by(col(Decision.time_ns).desc(), col(Decision.id).desc()).limit(limit)


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
    batch = session.get_one(Batch, number)
    sifted = _sifted(objects, batch, content)
    hold = _holding(objects, batch, sifted, [one.position for one in found], content)
    return [one for one in found if hold and one.position in hold]


class _ByBatch:
    """One page, of batches in the order of their newest decision."""

    def __init__(self, session: Session, objects: Objects, wanted: Filter, limit: int, place: Place | None) -> None:
        self._session, self._objects, self._limit, self._place = session, objects, limit, place
        self._filter, self._content = wanted, wanted.wanted
        self._clauses = wanted.clauses()
        #: The terms, and the bits that each needs.
        self._terms = {term: word_filter.bits_of(term) for clause in self._clauses for term in clause}
        self._conditions = [*wanted.conditions(), *([place.after()] if place else [])]
        if self._content is not None:
            self._conditions.append(col(Decision.erased).is_(None))
        #: (time, row) of what was found and of the newest so many; the oldest of them first.
        self._found: list[tuple[int, int]] = []
        self._unread: list[str] = []
        #: Batches that may hold something and were not looked into yet, and how many there may be.
        self._pending: list[Any] = []
        self._together = 1

    def page(self, deadline: float) -> Page:
        """The page, by what can be done until `deadline`, of the monotonic clock; and always some of it."""
        begin = self._place.time_ns if self._place else _LATEST
        for batch in self._batches():
            newest = batch.newest_ns
            # What is newer than all batches that are left is in its place.
            if len(self._found) > self._limit and self._found[0][0] > newest:
                break
            # Not before one batch further than the page before: else no page would ever come further.
            if newest < begin and time.monotonic() > deadline:
                self._look_into_pending()
                return self._page([one for one in self._found if one[0] > newest], Place(newest))
            if self._may_hold(batch):
                self._pending.append(batch)
                if len(self._pending) >= self._together:
                    self._look_into_pending()
        self._look_into_pending()
        return self._page(self._found, None)

    def _page(self, found: list[tuple[int, int]], rest: Place | None) -> Page:
        newest = sorted(found, reverse=True)
        rows = self._rows(newest[: self._limit])
        if len(newest) > self._limit:
            rest = Place.of(rows[-1])
        return Page(rows, rest.cursor() if rest else None, self._unread)

    def _rows(self, found: list[tuple[int, int]]) -> list[Decision]:
        if not found:
            return []
        query = select(Decision).where(
            col(Decision.id).in_([row for _, row in found]), _between(found[-1][0], found[0][0])
        )
        return list(self._session.exec(query.order_by(col(Decision.time_ns).desc(), col(Decision.id).desc())))

    def _batches(self) -> Iterator[Any]:
        """Batches that may have what is wanted by their columns, each with the blocks of its filter that matter."""
        newest = col(Batch.newest_ns)
        where: list[ColumnElement[bool]] = [newest.is_not(None), *self._filter.batch_conditions()]
        if self._place:
            where.append(col(Batch.oldest_ns) <= self._place.time_ns)
        header = func.substr(batch_words, 1, len(word_filter.HEADER))
        fixed = [col(Batch.id), col(Batch.oldest_ns), newest, col(Batch.object), col(Batch.entries)]
        columns: list[Any] = [*fixed, header, *map(_block, self._terms)]
        query = sql_select(*columns).where(*where).order_by(newest.desc(), col(Batch.id).desc())
        after: Any = None
        size = _FIRST
        while True:
            chunk = query if after is None else query.where(tuple_(newest, col(Batch.id)) < after)
            found = self._session.execute(chunk.limit(size)).all()
            yield from found
            if len(found) < size:
                return
            size = min(4 * size, _TOGETHER)
            after = tuple_(literal(found[-1].newest_ns, BigInteger), literal(found[-1].id, BigInteger))

    def _may_hold(self, batch: Any) -> bool:
        _, _, _, _, _, header, *blocks = batch
        if header is None:
            return True
        held = {
            term: word_filter.block_has(bytes(header), bytes(block), bits)
            for (term, bits), block in zip(self._terms.items(), blocks, strict=True)
        }
        return all(any(held[term] for term in clause) for clause in self._clauses)

    def _look_into_pending(self) -> None:
        """Read the rows of the pending batches in one query: of more and more batches, the more there are to read."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        if self._content is not None:
            for batch in pending:
                self._look_into(batch, self._content)
            return
        for time_ns, row, _ in self._session.exec(self._rows_of(pending).limit(self._limit + 1)):
            self._note((time_ns, row))
        self._together = min(2 * self._together, _MOST_OF_ROWS)

    def _look_into(self, batch: Any, content: Wanted) -> None:
        query = self._rows_of([batch])
        sifted = _sifted(self._objects, batch, content)
        if sifted is not None and batch.object.endswith(record_frames.SUFFIX):
            if not sifted.found and batch.entries == sifted.entries:
                return
            # And what is in no entry, which tells that these are not the records that were stored.
            position = col(Decision.position)
            query = query.where(or_(position.in_(sifted.found), position >= sifted.entries))
        there = self._session.exec(query).all()
        if not there:
            return
        positions = [position for _, _, position in there]
        hold = _holding(self._objects, batch, sifted, positions, content, self._limit + 1)
        if hold is None:
            self._unread.append(batch.object)
            return
        for time_ns, row, position in there:
            if position in hold:
                self._note((time_ns, row))

    def _rows_of(self, batches: list[Any]) -> Any:
        """The query for the rows of some batches that fit by their columns, newest first."""
        query = select(Decision.time_ns, Decision.id, Decision.position).where(
            col(Decision.batch).in_([batch.id for batch in batches]),
            _between(min(batch.oldest_ns for batch in batches), max(batch.newest_ns for batch in batches)),
            *self._conditions,
        )
        return query.order_by(col(Decision.time_ns).desc(), col(Decision.id).desc())

    def _note(self, found: tuple[int, int]) -> None:
        heapq.heappush(self._found, found)
        if len(self._found) > self._limit + 1:
            heapq.heappop(self._found)


def _sifted(objects: Objects, batch: Any, content: Wanted) -> Sifted | None:
    """The entries of a batch that may hold `content`; None when it is not what was stored."""
    try:
        return raw_records.sift(objects, batch, content.may_be_in)
    except (Changed, NotFound):
        return None


def _holding(
    objects: Objects,
    batch: Any,
    sifted: Sifted | None,
    positions: list[int],
    content: Wanted,
    most: int | None = None,
) -> set[int] | None:
    """Which of these positions have a record that holds `content`: the first `most` of them, or all.

    None when the batch is not what was stored.
    """
    if sifted is None:
        return None
    try:
        numbers = raw_records.numbers(objects, batch, positions)
    except (Changed, NotFound):
        return None
    if not all(0 <= number < sifted.entries for number in numbers.values()):
        return None
    found = ((at, sifted.found.get(number)) for at, number in numbers.items())
    return set(islice((at for at, entry in found if entry is not None and content.in_record(entry)), most))


def _between(oldest_ns: int, newest_ns: int) -> ColumnElement[bool]:
    """Of rows that are named otherwise, too: it spares the database its parts of other weeks."""
    return col(Decision.time_ns).between(oldest_ns, newest_ns)


def _block(term: str) -> Any:
    """The block of a batch's filter to which a term belongs, cut out by the database: SQL counts from 1."""
    blocks = (func.length(batch_words, type_=Integer) - len(word_filter.HEADER)) // word_filter.BLOCK
    number = literal(word_filter.block_number(term), BigInteger) * cast(blocks, BigInteger)
    start = number.op(">>")(literal(32, Integer)) * word_filter.BLOCK + len(word_filter.HEADER) + 1
    return func.substr(batch_words, cast(start, Integer), word_filter.BLOCK)
