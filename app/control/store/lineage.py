"""Batches that were refused, and whether that stops their sidecar."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class LineageBreak(Table, table=True):
    """A batch that did not fit. Clearing keeps the row: it is evidence."""

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
    #: Whether the sidecar itself had signed the batch: only that stops it until the break is cleared.
    stops: bool
    #: SHA-256 of the refused body, and where it lies in the object store; None when it was not kept.
    body_sha256: str = Field(max_length=64)
    object: str | None = None
    opened_at: datetime = Field(default_factory=now, sa_type=Instant)
    cleared_at: datetime | None = Field(default=None, sa_type=Instant)
    #: The name of the person's API token, and its id.
    cleared_by: str | None = Field(default=None, max_length=200)
    cleared_token: str | None = Field(default=None, max_length=12)
    #: Why it was cleared.
    note: str | None = None
