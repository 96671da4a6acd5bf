"""The values that a batch's decisions have in columns without an index: counted, so that a search finds the batches.

A value that is frequent is in most batches, and is found in the newest of them; one that is rare is in few, and the
index of `batch_value` names those.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, String, Subquery, cast, delete
from sqlmodel import Session, col, select

from app.control.store import Batch, BatchValue, Decision
from app.control.store.bulk import add_rows
from app.control.value_counts import COLUMNS, COUNTS, TALLY, Tally, are_usual, of_rows

_TABLE = BatchValue.metadata.tables["batch_value"]
_NAMES = ("batch", "value", *TALLY)


def add(session: Session, batch: int, values: Mapping[str, Tally]) -> None:
    """Add those of a batch that has none yet."""
    add_rows(session, _TABLE, _NAMES, ((batch, value, *tally) for value, tally in values.items()))


def remove(session: Session, batch: int) -> None:
    """Remove those of a batch whose decision rows are removed, or changed."""
    session.execute(delete(BatchValue).where(col(BatchValue.batch) == batch))


def remove_orphans(session: Session) -> None:
    """Remove those of batches that are not there, which somebody else added."""
    session.execute(delete(BatchValue).where(col(BatchValue.batch).not_in(select(Batch.id))))


def renew(session: Session, batch: int) -> None:
    """Count those of a batch anew, after its decision rows were changed.

    A row that somebody else changed is left out, so that it keeps no erasure from its end: fsck names it.
    """
    remove(session, batch)
    names = ("position", "outcome", *COLUMNS.values())
    # Reasons as their text, as those who insert rows have it.
    columns = [cast(Decision.reasons, String) if name == "reasons" else getattr(Decision, name) for name in names]
    rows = session.execute(select(*columns).where(Decision.batch == batch).order_by(col(Decision.position)))
    add(session, batch, of_rows([row for row in map(tuple, rows) if are_usual(row, names)], names))


def condition(value: str) -> ColumnElement[bool]:
    """Batches that have a value, as a condition on their rows."""
    return col(Batch.id).in_(select(BatchValue.batch).where(BatchValue.value == value))


def counted(value: str, outcome: str | None = None) -> Subquery:
    """The rows of a value, of those batches alone that have it in a decision of this outcome."""
    query = select(BatchValue).where(BatchValue.value == value)
    if outcome:
        query = query.where(getattr(BatchValue, COUNTS[outcome]) > 0)
    return query.subquery()
