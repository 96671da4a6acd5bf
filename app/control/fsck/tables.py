"""Rows as the database holds them, not as its classes read them: what was damaged must not stop who looks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from app.control.store import Batch, Decision, LineageBreak, Link, Store, as_stored, first_line
from app.control.store.as_stored import Row
from app.control.value_counts import TALLY
from app.core.errors import PlacetError, UsageError

#: Each batch row brings its words, which may be 256 KiB.
_ROWS_AT_ONCE = 100
_SEALS_AT_ONCE = 5000


class Tables:
    """One transaction that reads: a state in which nothing changes."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._batches = self._select(Batch)
        self._decisions = self._select(Decision)
        self._breaks = self._select(LineageBreak)
        self._links = self._select(Link)

    def require_system(self, name: str | None) -> None:
        """Fail where a system is named that there is not: nothing found would look like nothing wrong."""
        if name is not None and not self._run("SELECT 1 FROM system WHERE name = :name", name=name):
            raise UsageError(f"there is no system {name}")

    def batches(self, where: str = "TRUE", **bound: Any) -> Iterator[Row]:
        """Batch rows by id."""
        return self._by_id(Batch, self._batches, where, bound)

    def links(self, where: str = "TRUE", **bound: Any) -> Iterator[Row]:
        """Rows of statements by id."""
        return self._by_id(Link, self._links, where, bound)

    def resources(self, link: int) -> list[tuple[Any, ...]]:
        """What a statement names, by position: (position, material, name, sha256)."""
        query = "SELECT position, material, name, sha256 FROM link_resource WHERE link = :link ORDER BY position"
        return [tuple(one) for one in self._run(query, link=link)]

    def started_by(self, system: str | None) -> Iterator[tuple[str, str, str]]:
        """Approvals of warrants by which executions were started: (system, warrant, evidence)."""
        query = (
            "SELECT DISTINCT w.system, a.warrant, a.evidence FROM approval a JOIN warrant w ON w.id = a.warrant "
            "JOIN link_resource r ON r.name = 'warrant/' || a.warrant JOIN link l ON l.id = r.link "
            "WHERE l.system = w.system AND l.kind = 'execution/start' AND (:system = '' OR w.system = :system) "
            "ORDER BY a.warrant"
        )
        return (tuple(one) for one in self._run(query, system=system or ""))

    def orphaned_resources(self) -> list[int]:
        """Statements that are not there, and that rows of what they name speak of."""
        gone = "link NOT IN (SELECT id FROM link)"
        query = f"SELECT DISTINCT link FROM link_resource WHERE {gone} ORDER BY link LIMIT 1000"  # noqa: S608 - ours
        return [one[0] for one in self._run(query)]

    def rows(self, table: Any, order: str) -> Iterator[Row]:
        """All rows of a small table, by the columns that name them."""
        return (_row(table, one) for one in self._run(f"{self._select(table)} ORDER BY {order}"))

    def _by_id(self, table: Any, columns: str, where: str, bound: Row) -> Iterator[Row]:
        after = None
        while True:
            further = "" if after is None else " AND id > :after"
            query = f"{columns} WHERE {where}{further} ORDER BY id LIMIT {_ROWS_AT_ONCE}"
            rows = [_row(table, one) for one in self._run(query, after=after, **bound)]
            yield from rows
            if len(rows) < _ROWS_AT_ONCE:
                return
            after = rows[-1]["id"]

    def count_batches(self, where: str = "TRUE", **bound: Any) -> int:
        """How many there are."""
        query = f"SELECT COUNT(*) FROM batch WHERE {where}"  # noqa: S608 - a condition of ours, values are bound
        return int(self._run(query, **bound)[0][0])

    def spans(self) -> Iterator[tuple[int, int, int, int]]:
        """Of each batch that decision rows name: its id, how many there are, and the first and last id of theirs.

        One look at the whole table is less than one for each batch.
        """
        query = text("SELECT batch, COUNT(*), MIN(id), MAX(id) FROM decision GROUP BY batch")
        for row in self.connection.execute(query, execution_options={"stream_results": True}):  # of the query alone
            yield row[0], row[1], row[2], row[3]

    def repeats(self, system: str | None, sidecar: str | None) -> Iterator[tuple[str, int, int]]:
        """Decisions of which a sidecar has more than one: the decision id, and the ids of the first and the last row.

        By the time first: what has the same one is few rows, and the index by time gives them one after the other.
        """
        where, bound = _equal(system=system, sidecar=sidecar)
        same = "time_ns, system, sidecar, decision_id"
        query = text(
            f"SELECT decision_id, MIN(id), MAX(id) FROM decision WHERE {where} GROUP BY {same} HAVING COUNT(*) > 1"  # noqa: S608 - names of ours, values are bound
        )
        for row in self.connection.execute(query, bound, execution_options={"stream_results": True}):
            yield str(row[0]), row[1], row[2]

    def decisions(self, batch: int, first: int, last: int, limit: int) -> list[tuple[Any, ...]]:
        """A batch's decision rows by id, which lie between two ids; `limit` of them at most."""
        query = f"{self._decisions} WHERE id BETWEEN :first AND :last AND batch = :batch ORDER BY id LIMIT :limit"
        return [tuple(one) for one in self._run(query, first=first, last=last, batch=batch, limit=limit)]

    def decisions_named(self, decision_id: str) -> list[tuple[Any, ...]]:
        """Decision rows of that decision id, whichever batch they name."""
        query = f"{self._decisions} WHERE decision_id = :decision_id ORDER BY id LIMIT 10"
        return [tuple(one) for one in self._run(query, decision_id=decision_id)]

    def decision_ids(self, batch: int, first: int, last: int, limit: int) -> list[int]:
        """The ids of a batch's first decision rows."""
        query = "SELECT id FROM decision WHERE id BETWEEN :first AND :last AND batch = :batch ORDER BY id LIMIT :limit"
        return [one[0] for one in self._run(query, first=first, last=last, batch=batch, limit=limit)]

    def values(self, batch: int, limit: int) -> list[tuple[Any, ...]]:
        """The values of a batch: (value, *tally); `limit` of them at most."""
        columns = ", ".join(f'"{name}"' for name in ("value", *TALLY))
        query = f"SELECT {columns} FROM batch_value WHERE batch = :batch LIMIT :limit"  # noqa: S608 - names of ours
        return [tuple(one) for one in self._run(query, batch=batch, limit=limit)]

    def orphaned_values(self) -> list[int]:
        """Batches that are not there, and that rows of values speak of."""
        gone = "batch NOT IN (SELECT id FROM batch)"
        query = f"SELECT DISTINCT batch FROM batch_value WHERE {gone} ORDER BY batch LIMIT 1000"  # noqa: S608 - ours
        return [one[0] for one in self._run(query)]

    def erased(self, batch: int) -> list[tuple[Any, ...]]:
        """What erasures took from a batch: (id, erasure, decisions, numbers, when its rows were deleted)."""
        columns = "id, erasure, CAST(decisions AS TEXT), CAST(numbers AS TEXT), rows_deleted_at"
        query = f"SELECT {columns} FROM erased_batch WHERE batch = :batch AND erased_at IS NOT NULL ORDER BY id"  # noqa: S608 - ours
        return [tuple(one) for one in self._run(query, batch=batch)]

    def breaks(self, system: str | None, sidecar: str | None) -> list[Row]:
        """Breaks of lineage, open and cleared."""
        where, bound = _equal(system=system, sidecar=sidecar)
        return [_row(LineageBreak, one) for one in self._run(f"{self._breaks} WHERE {where} ORDER BY id", **bound)]

    def sealed(self, table: Table) -> Iterator[Row]:
        """All rows of a table of any size."""
        names = ", ".join(str(column.name) for column in table.primary_key)
        query = f"{as_stored.select_all(table, self.connection.dialect)} ORDER BY {names}"
        return (as_stored.row(table, one) for one in self._paged(query))

    def seals(self) -> Iterator[tuple[Any, Any, Any]]:
        """All seals: table, key and HMAC."""
        return (tuple(one) for one in self._paged("SELECT about, key, mac FROM seal ORDER BY about, key"))

    def _paged(self, query: str) -> Iterator[Any]:
        at = 0
        while rows := self._run(f"{query} LIMIT {_SEALS_AT_ONCE} OFFSET :at", at=at):
            yield from rows
            at += len(rows)

    def _select(self, table: Any) -> str:
        return as_stored.select_all(_table(table), self.connection.dialect)

    def _run(self, query: str, **bound: Any) -> list[Any]:
        used = {name: value for name, value in bound.items() if f":{name}" in query}
        try:
            return list(self.connection.execute(text(query), used).fetchall())
        except OperationalError as error:
            if "decode to UTF-8" not in str(error.orig):
                raise
        # SQLite stores what is no text as one. This reads it, slowly.
        driver: Any = self.connection.connection.driver_connection
        driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return list(self.connection.execute(text(query), used))


@contextmanager
def reading(store: Store) -> Iterator[Tables]:
    """Read what the database holds at this moment. Raises `PlacetError` when it cannot be read."""
    try:
        with store.answering(), store.engine.connect() as fresh:
            if fresh.dialect.name == "postgresql":
                connection = fresh.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            else:
                connection = fresh
                driver: Any = fresh.connection.driver_connection
                driver.execute("PRAGMA query_only = ON")
                driver.text_factory = str  # the pool may give us one that has read damaged text
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SET LOCAL statement_timeout = 0"))
                yield Tables(connection)
    except SQLAlchemyError as error:
        raise PlacetError(f"cannot read the database: {first_line(error)}") from error


def columns_of(table: Any) -> tuple[str, ...]:
    """The names of a table's columns, in their order."""
    return tuple(column.name for column in _table(table).columns)


def _equal(**asked: str | None) -> tuple[str, dict[str, str]]:
    """The condition that columns are what is asked for, where something is, and the values that it binds."""
    bound = {name: value for name, value in asked.items() if value is not None}
    return " AND ".join(f"{name} = :{name}" for name in bound) or "TRUE", bound


def _table(table: Any) -> Table:
    found: Table = table.__table__
    return found


def _row(table: Any, values: Any) -> Row:
    return as_stored.row(_table(table), values)
