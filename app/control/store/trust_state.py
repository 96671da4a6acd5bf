"""Trust states that were archived: the documents lie in the object store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class TrustState(Table, table=True):
    """A trust state of a system, who brought it, and whether a stored batch names it."""

    __tablename__ = "trust_state"
    __table_args__ = (Index(None, "system", "sidecar", "named", "received_at"),)

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    digest: str = Field(primary_key=True, max_length=71)
    #: The sidecar to which the API token was bound; empty for one of the whole system.
    sidecar: str = Field(max_length=63)
    named: bool = False
    received_at: datetime = Field(default_factory=now, sa_type=Instant)
