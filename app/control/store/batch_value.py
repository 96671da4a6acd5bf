"""Which values a batch's decisions have in the columns that have no index of their own, and how often."""

from __future__ import annotations

from sqlalchemy import BigInteger
from sqlmodel import Field

from app.control.store.table import Table


class BatchValue(Table, table=True):
    """One value of one batch. It follows from the rows of its decisions (`app.control.batch_values`)."""

    __tablename__ = "batch_value"

    #: `action=read`: the column, or `reason` for each of a decision's reasons, and the value. In one column, by which
    #: PostgreSQL can tell how frequent it is.
    value: str = Field(primary_key=True, max_length=540)
    batch: int = Field(primary_key=True, foreign_key="batch.id", sa_type=BigInteger, index=True)
    #: The positions of the decisions that have it; None where they are many (`app.control.value_counts`).
    places: bytes | None = None
    #: How many of them there are of each outcome.
    allows: int
    denials: int
    unreadable: int
