"""Search where no index gives the rows in their order: batches are asked, those with the newest decisions first.

What is known of their values (`app.control.batch_values`) and their filters (`app.core.word_filter`) rule out most of
them. The rows of the others are asked, of several batches at once; and, where words or paths are looked for, their
records are read and compared exactly.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
)
from sqlalchemy import select as sql_select
from sqlmodel import Session, col, select, tuple_

from app.control import batch_values, value_counts
from app.control.decision_filter import NEWEST_FIRST, Filter, Page, Place
from app.control.objects import Objects
from app.control.sifted_records import SiftedRecords
from app.control.store import Batch, Decision, batch_words, decision_row
from app.control.value_counts import TALLY
from app.core import word_filter
from app.core.record_frames import PLAIN
from app.core.word_filter import Term

#: Batches that are asked for at once: first few, which is enough where much fits, then more.
_FIRST, _TOGETHER = 16, 500
#: Batches whose rows are asked at once, at most; and rows that are asked by their numbers.
_MOST_BATCHES, _MOST_ROWS = 64, 500
#: Bytes of records that wait for their rows, and those of one batch more.
_MOST_BYTES = 4 * 1024 * 1024
#: Any of the terms of a question rule a batch out: so many are asked for.
_MAX_TERMS = 16
_LATEST = 2**63 - 1


@dataclass(frozen=True)
class _Look:
    """A batch that may hold something: at these positions, or anywhere (None)."""

    batch: Any
    positions: set[int] | None
    records: SiftedRecords | None


class ByBatch:
    """Makes one page."""

    def __init__(
        self,
        session: Session,
        objects: Objects,
        wanted: Filter,
        limit: int,
        place: Place | None = None,
        columns: Sequence[Any] = (),
    ) -> None:
        self._session, self._objects, self._limit, self._place = session, objects, limit, place
        #: What is given of each row by `newest`.
        self._columns = columns
        self._filter, self._content = wanted, wanted.wanted
        self._values = [*wanted.counted().values()]
        self._terms = [word_filter.term(one) for one in self._content.terms[:_MAX_TERMS]] if self._content else []
        self._conditions = [*wanted.conditions(), *([place.after()] if place else [])]
        if self._content is not None:
            self._conditions.append(col(Decision.erased).is_(None))
        #: (time, row, columns …) of what was found and of the newest so many; the oldest of them first.
        self._found: list[tuple[Any, ...]] = []
        self._unread: list[str] = []
        #: Batches whose rows were not asked yet; of how many of them all rows must be, how many those may be, and how
        #: many rows are to be asked by their numbers.
        self._pending: list[_Look] = []
        self._whole, self._together, self._rows_asked = 0, 1, 0
        #: Bytes of the records that may hold what is looked for, of the pending batches.
        self._bytes = 0

    def page(self, deadline: float) -> Page:
        """The page, by what can be done until `deadline`, of the monotonic clock; and always some of it."""
        found, rest = self._search(deadline)
        rows = self._rows([(time_ns, row) for time_ns, row, *_ in found[: self._limit]])
        if len(found) > self._limit:
            rest = Place(*found[self._limit - 1][:2])
        return Page(rows, rest.cursor() if rest else None, self._unread)

    def newest(self, deadline: float) -> list[tuple[Any, ...]]:
        """The columns of the newest rows that are found until then."""
        found, _ = self._search(deadline)
        return [one[2:] for one in found[: self._limit]]

    def _search(self, deadline: float) -> tuple[list[tuple[Any, ...]], Place | None]:
        """What is newest, in order, and where it ended if that was before the end: from there on nothing is known."""
        begin = self._place.time_ns if self._place else _LATEST
        for batch in self._batches():
            newest: int = batch.newest_ns
            # What is newer than all batches that are left is in its place.
            if len(self._found) > self._limit and self._found[0][0] > newest:
                break
            # Not before one batch further than the page before: else no page would ever come further.
            if newest < begin and time.monotonic() > deadline:
                self._ask_pending()
                return sorted((one for one in self._found if one[0] > newest), reverse=True), Place(newest)
            self._look_into(batch)
        self._ask_pending()
        return sorted(self._found, reverse=True), None

    def _rows(self, found: list[tuple[int, int]]) -> list[Decision]:
        if not found:
            return []
        query = select(Decision).where(
            col(Decision.id).in_([row for _, row in found]), _between(found[-1][0], found[0][0])
        )
        return list(self._session.exec(query.order_by(*NEWEST_FIRST)))

    def _batches(self) -> Iterator[Any]:
        """Batches that may have what is wanted by their columns and values; each with what there is to know of it."""
        newest = col(Batch.newest_ns)
        where: list[ColumnElement[bool]] = [newest.is_not(None), *self._filter.batch_conditions()]
        if self._place:
            where.append(col(Batch.oldest_ns) <= self._place.time_ns)
        # Where nobody signed how many entries there are, so many were counted.
        counted_entries = col(Batch.allows) + col(Batch.denials) + col(Batch.unreadable) + col(Batch.other_lines)
        entries = func.coalesce(col(Batch.entries), counted_entries).label("entries")
        columns: list[Any] = [col(Batch.id), col(Batch.oldest_ns), newest, col(Batch.object), entries]
        counted = [batch_values.counted(value, self._filter.outcome) for value in self._values]
        columns += [column for one in counted for column in (one.c[name] for name in TALLY)]
        if self._terms:
            columns += [func.substr(batch_words, 1, len(word_filter.NEWEST)), *map(_block, self._terms)]
        query = sql_select(*columns).where(*where).order_by(newest.desc(), col(Batch.id).desc())
        for one in counted:
            query = query.join(one, one.c.batch == Batch.id)
        after: Any = None
        size = _FIRST
        while True:
            chunk = query if after is None else query.where(tuple_(newest, col(Batch.id)) < after)
            # As a number in the statement, not a parameter: PostgreSQL would plan for a tenth of the table.
            found = self._session.execute(chunk.limit(literal_column(str(size)))).all()
            yield from found
            if len(found) < size:
                return
            size = min(4 * size, _TOGETHER)
            after = tuple_(literal(found[-1].newest_ns, BigInteger), literal(found[-1].id, BigInteger))

    def _look_into(self, batch: Any) -> None:
        """Have the rows of a batch asked, unless it holds nothing; not all at once, nor each alone."""
        _, _, _, _, _, *known = batch
        tallies = [known[at : at + len(TALLY)] for at in range(0, len(self._values) * len(TALLY), len(TALLY))]
        filtered = known[len(self._values) * len(TALLY) :]
        records = None
        if self._content is not None:
            groups = self._groups(*filtered) if filtered else word_filter.ALL_GROUPS
            if not groups:
                return
            records = SiftedRecords(self._objects, batch, self._content, groups)
        where: list[Sequence[int] | None] = [records.positions] if records else []
        # Places of plain lines change when an erasure puts them into frames, which may happen at this moment.
        if not batch.object.endswith(PLAIN):
            where += [value_counts.places(tally) for tally in tallies]
        known_where = [set(one) for one in where if one is not None]
        positions = set.intersection(*known_where) if known_where else None
        if positions is not None and len(positions) > _MOST_ROWS:
            positions = None
        if positions == set():
            return
        self._pending.append(_Look(batch, positions, records))
        if positions is None:
            self._whole += 1
        else:
            self._rows_asked += len(positions)
        self._bytes += records.size if records else 0
        many = self._rows_asked > min(self._limit, _MOST_ROWS) or self._bytes > _MOST_BYTES
        # Of a batch whose records are read, all rows are many.
        if many or self._whole >= (self._together if records is None else 1):
            self._ask_pending()

    def _groups(self, header: Any, *blocks: Any) -> int:
        """The groups of a batch's records that may have all terms, by its filter."""
        found = word_filter.ALL_GROUPS
        for block, term in zip(blocks, self._terms, strict=True):
            if not isinstance(header, bytes) or not isinstance(block, bytes):
                return found
            found &= word_filter.groups(header, block, term)
        return found

    def _ask_pending(self) -> None:
        """Ask the rows of the pending batches in one query: of more and more batches, the more there are to ask."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        if self._whole >= self._together:
            self._together = min(2 * self._together, _MOST_BATCHES)
        self._whole = self._rows_asked = self._bytes = 0
        query = self._rows_of(pending)
        if self._content is None:
            for time_ns, row, _, _, *columns in self._session.execute(query.limit(self._limit + 1)):
                self._note((time_ns, row, *columns))
            return
        rows = self._session.execute(query).all()
        records = self._placed(pending, rows)
        for time_ns, row, batch, position, *columns in rows:
            if len(self._found) > self._limit and (time_ns, row) < self._found[0]:
                return
            if batch in records and records[batch].hold(position):
                self._note((time_ns, row, *columns))

    def _placed(self, pending: list[_Look], rows: Any) -> dict[int, SiftedRecords]:
        """The records of the pending batches in which these rows are; but those that are not what was stored."""
        positions: dict[int, list[int]] = defaultdict(list)
        for _, _, batch, position, *_ in rows:
            positions[batch].append(position)
        found: dict[int, SiftedRecords] = {}
        for one in pending:
            there = positions.get(one.batch.id)
            if there and one.records is not None:
                if one.records.place(there):
                    found[one.batch.id] = one.records
                else:
                    self._unread.append(one.batch.object)
        return found

    def _rows_of(self, pending: list[_Look]) -> Any:
        """The query for the rows of some batches that fit by their columns, newest first."""
        batches = [one.batch for one in pending]
        numbers = [decision_row(one.batch.id, position) for one in pending for position in one.positions or ()]
        whole = [one.batch.id for one in pending if one.positions is None]
        own: list[Any] = [Decision.time_ns, Decision.id, Decision.batch, Decision.position]
        query = sql_select(*own, *self._columns).where(
            or_(
                *([col(Decision.id).in_(numbers)] if numbers else []),
                *([col(Decision.batch).in_(whole)] if whole else []),
            ),
            _between(min(batch.oldest_ns for batch in batches), max(batch.newest_ns for batch in batches)),
            *self._conditions,
        )
        return query.order_by(*NEWEST_FIRST)

    def _note(self, found: tuple[Any, ...]) -> None:
        heapq.heappush(self._found, found)
        if len(self._found) > self._limit + 1:
            heapq.heappop(self._found)


def _between(oldest_ns: int, newest_ns: int) -> ColumnElement[bool]:
    """Of rows that are named otherwise, too: it spares the database its parts of other weeks."""
    return col(Decision.time_ns).between(oldest_ns, newest_ns)


def _block(term: Term) -> Any:
    """The block of a batch's filter to which a term belongs, cut out by the database (`word_filter.block_at`)."""
    length = func.length(batch_words, type_=Integer)
    blocks = cast((length - len(word_filter.NEWEST)) // word_filter.BLOCK, BigInteger)
    number = literal(term.number, BigInteger)
    newest = func.substr(batch_words, 1, len(word_filter.NEWEST)) == literal(word_filter.NEWEST, LargeBinary)
    # One that was cut short has no blocks, and nothing may be divided by their number.
    at = case((and_(blocks > 0, newest), number % blocks), else_=(number * blocks).op(">>")(literal(32, Integer)))
    start = at * word_filter.BLOCK + len(word_filter.NEWEST) + 1  # SQL counts from 1
    return func.substr(batch_words, cast(start, Integer), word_filter.BLOCK)
