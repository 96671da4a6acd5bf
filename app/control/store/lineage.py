"""Batches that were refused, or judged, and whether that stops their sidecar."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class LineageBreak(Table, table=True):
    """A batch that did not fit, or that was taken and speaks against its sidecar. Clearing keeps the row: evidence."""

    __tablename__ = "lineage_break"
    __table_args__ = (Index(None, "system", "sidecar", "cleared_at"),)

    id: int | None = Field(default=None, primary_key=True)
    system: str = Field(foreign_key="system.name", max_length=63)
    sidecar: str = Field(max_length=63)
    #: None where the statement could not be read.
    instance: str | None = Field(default=None, max_length=128)
    #: The reason code.
    kind: str = Field(max_length=64)
    detail: str
    #: Whether it stops the sidecar until it is cleared: only what the sidecar itself had signed does.
    stops: bool
    #: From when on, where its system bears such a break for a time; None: from the beginning.
    stops_at: datetime | None = Field(default=None, sa_type=Instant)
    #: The row of a batch that was taken (`app.control.judgement`); None of one that was refused.
    batch: int | None = Field(default=None, sa_type=BigInteger)
    #: SHA-256 of the refused body, and where it lies in the object store; None when it was not kept. Of a batch that
    #: was taken, the SHA-256 of its statement.
    body_sha256: str = Field(max_length=64)
    object: str | None = None
    opened_at: datetime = Field(default_factory=now, sa_type=Instant)
    cleared_at: datetime | None = Field(default=None, sa_type=Instant)
    #: The name of the person's API token, and its id.
    cleared_by: str | None = Field(default=None, max_length=200)
    cleared_token: str | None = Field(default=None, max_length=12)
    #: Why it was cleared.
    note: str | None = None
