"""Searches under a name, and where records are forwarded to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class SavedSearch(Table, table=True):
    """A filter of decisions under a name: of one system, or of all where `system` is empty."""

    __tablename__ = "saved_search"

    system: str = Field(default="", primary_key=True, max_length=63)
    name: str = Field(primary_key=True, max_length=63)
    #: By the names of `app.control.decision_filter.Filter`.
    filter: dict[str, Any] = Field(sa_type=JSON)
    #: The name of the token.
    saved_by: str = Field(max_length=200)
    saved_at: datetime = Field(default_factory=now, sa_type=Instant)


class Forward(Table, table=True):
    """A sink of records. Its URL holds no secret."""

    __tablename__ = "forward"

    name: str = Field(primary_key=True, max_length=63)
    #: Of one system alone; None: of all.
    system: str | None = Field(default=None, foreign_key="system.name", max_length=63)
    target: str = Field(max_length=2000)
    added_by: str = Field(max_length=200)
    added_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: Records that the sink took, repeats included, and when it took the last.
    delivered: int = Field(default=0, sa_type=BigInteger)
    delivered_at: datetime | None = Field(default=None, sa_type=Instant)
    #: How often it failed since; why, the last time; and when it is tried again.
    failures: int = 0
    problem: str | None = Field(default=None, max_length=300)
    next_try: datetime | None = Field(default=None, sa_type=Instant)


class ForwardBatch(Table, table=True):
    """A batch that a sink has not taken yet. Written with the batch, in one transaction, so that none is left out."""

    __tablename__ = "forward_batch"

    forward: str = Field(primary_key=True, foreign_key="forward.name", max_length=63)
    batch: int = Field(primary_key=True, foreign_key="batch.id", sa_type=BigInteger)
