"""The signed TUF metadata. It lies in the database so that a change and its publication are one transaction."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class TufMetadata(Table, table=True):
    """One metadata file, under the name that clients ask for: `1.root.json`, `7.targets.json`, `timestamp.json`."""

    __tablename__ = "tuf_metadata"

    name: str = Field(primary_key=True, max_length=64)
    body: bytes
    written_at: datetime = Field(default_factory=now, sa_type=Instant)
