"""Reports of what a release would have changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class ImpactReport(Table, table=True):
    """One report, as the person with the token sent it. Rows are only added: a later one counts instead."""

    __tablename__ = "impact_report"
    __table_args__ = (Index(None, "system", "release", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    system: str = Field(foreign_key="system.name", max_length=63)
    #: The policy that was tried: the digest of the release's bundle.
    release: str = Field(max_length=71)
    #: Records from this time on, before that one.
    since: datetime = Field(sa_type=Instant)
    until: datetime = Field(sa_type=Instant)
    #: Records that were decided again; of them those that changed, and those that could not be decided again.
    records: int
    changed: int
    unavailable: int
    #: SHA-256 over the records that were decided again, in their order.
    inputs: str = Field(max_length=71)
    #: Whether every record of that time was decided again.
    complete: bool
    #: The changes, grouped.
    groups: list[dict[str, Any]] = Field(sa_type=JSON)
    recorded_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: Id and name of the API token.
    recorded_by: str = Field(max_length=12)
    recorded_by_name: str = Field(max_length=200)
