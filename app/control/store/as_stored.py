"""Rows as the database holds them, not as its classes read them: what was damaged can be looked at, too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Dialect, Table

#: How SQLite stores a time; those of PostgreSQL are written so as well.
INSTANT = "%Y-%m-%d %H:%M:%S.%f"

Row = dict[str, Any]


def select_all(table: Table, dialect: Dialect) -> str:
    """The beginning of a query for every column, as text where drivers would parse it."""
    quote = dialect.identifier_preparer.quote
    columns = [
        f"CAST({quote(column.name)} AS TEXT)" if isinstance(column.type, JSON) else quote(column.name)
        for column in table.columns
    ]
    return f"SELECT {', '.join(columns)} FROM {quote(table.name)}"  # noqa: S608 - names of ours


def row(table: Table, values: Sequence[Any]) -> Row:
    """What such a query gives, by the names of the columns."""
    named = zip((column.name for column in table.columns), values, strict=True)
    return {name: instant(value) if isinstance(value, datetime) else value for name, value in named}


def instant(moment: datetime) -> str:
    """A time as `row` has it."""
    return moment.strftime(INSTANT)


def key(table: Table, values: Row) -> str:
    """The columns that name a row, as JSON."""
    return key_of(values[column.name] for column in table.primary_key)


def key_of(values: Iterable[Any]) -> str:
    """The same, of those columns alone."""
    return json.dumps([plain(one) for one in values])


def named(key: str) -> str:
    """A row as findings and people name it, by its key."""
    try:
        return "/".join(map(str, json.loads(key))) or "key"
    except (ValueError, TypeError):  # of a seal that was damaged
        return key


def as_bytes(value: Any) -> bytes:
    """The bytes of a column, whatever the database holds in their place."""
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode("utf-8", "surrogateescape")


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return {"hex": bytes(value).hex()} if isinstance(value, bytes | memoryview) else value
