"""Rows by the thousand: COPY on PostgreSQL, one prepared statement on SQLite."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import JSON, Table, insert
from sqlmodel import Session

from app.control.problems import Unavailable


def add_rows(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert `rows`, which all have the same columns, in the session's transaction."""
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        connection.execute(insert(table), rows)
        return
    names = list(rows[0])
    documents = [isinstance(table.columns[name].type, JSON) for name in names]
    preparer = connection.dialect.identifier_preparer
    columns = ", ".join(preparer.quote(name) for name in names)
    driver: Any = connection.connection.driver_connection
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY {preparer.quote(table.name)} ({columns}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(
                    [
                        json.dumps(value) if document else value
                        for document, value in zip(documents, row.values(), strict=True)
                    ]
                )
    except psycopg.OperationalError as error:
        # Past SQLAlchemy, which would know an outage by its own classes.
        raise Unavailable(f"the database does not answer: {str(error).strip().splitlines()[0][:200]}") from error
