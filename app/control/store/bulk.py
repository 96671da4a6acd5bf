"""Rows by the thousand: COPY on PostgreSQL, one prepared statement on SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

from app.control.problems import Unavailable

_AT_ONCE = 1000

#: Values of one `IN`: each is a parameter of the statement, and no database takes as many as one likes.
IN_AT_ONCE = 500

_Value = TypeVar("_Value", int, str)


def add_rows(session: Session, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows, each the values of the columns `names`, in the session's transaction. JSON comes as its text."""
    connection = session.connection()
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(quote(name) for name in names)
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" * len(names))
        statement = f"INSERT INTO {quote(table.name)} ({columns}) VALUES ({marks})"  # noqa: S608 - names of ours
        more = iter(rows)
        while chunk := list(islice(more, _AT_ONCE)):
            connection.exec_driver_sql(statement, [tuple(row) for row in chunk])
        return
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(f"COPY {quote(table.name)} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.OperationalError as error:
        # Past SQLAlchemy, which would know an outage by its own classes.
        raise Unavailable(f"the database does not answer: {str(error).strip().splitlines()[0][:200]}") from error


def next_numbers(connection: Connection, table: Table, many: int = 1) -> list[int]:
    """Numbers for rows that this transaction will add, for whoever must know them before the rows are there."""
    if connection.dialect.name == "postgresql":
        number = func.nextval(f"{table.name}_id_seq")
        return list(connection.scalars(select(number).select_from(func.generate_series(1, many).alias())))
    last = connection.scalar(select(func.max(table.c.id))) or 0  # nobody else adds any while this one writes
    return list(range(last + 1, last + 1 + many))


def insert_where(connection: Connection, table: Table | type[SQLModel]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows what to do when its key is taken: `on_conflict_do_nothing`, `on_conflict_do_update`."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def chunks(values: Iterable[_Value], size: int = IN_AT_ONCE) -> Iterator[list[_Value]]:
    """The values in their order, each once, in lists of `size` at most."""
    rest = iter(sorted(set(values)))
    while some := list(islice(rest, size)):
        yield some
