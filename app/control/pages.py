"""Pages of a list that is sorted by time, newest first: rows that arrive meanwhile shift nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import Session, and_, or_, select

from app.control.problems import Invalid

MAX_PAGE = 200

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows and where the next older ones begin; None when there are none."""

    items: list[Row]
    next: str | None


def page(
    session: Session,
    table: type[Row],
    conditions: Sequence[ColumnElement[bool]],
    time: Any,
    key: Any,
    limit: int,
    cursor: str | None = None,
) -> Page[Row]:
    """One page of the rows of `table`, by the columns `time` and `key`, both falling."""
    query = select(table).where(*conditions)
    if cursor:
        at, last = _decode(cursor)
        query = query.where(or_(time < at, and_(time == at, key < last)))
    found = list(session.exec(query.order_by(time.desc(), key.desc()).limit(limit + 1)))
    items = found[:limit]
    return Page(items, _encode(items[-1], time, key) if len(found) > limit else None)


def _encode(row: Any, time: Any, key: Any) -> str:
    at: datetime = getattr(row, time.key)
    return base64.urlsafe_b64encode(f"{at.isoformat()} {getattr(row, key.key)}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        at, _, last = text.partition(" ")
        if "\0" in last:
            raise ValueError("NUL")
        return datetime.fromisoformat(at).astimezone(UTC), last
    except (ValueError, OverflowError, binascii.Error) as error:
        raise Invalid("the cursor is malformed; take it from the answer of the page before") from error
