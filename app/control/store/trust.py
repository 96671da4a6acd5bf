"""What every sidecar must know besides its release: quarantined subjects and trusted issuers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class Quarantine(Table, table=True):
    """A subject that is, or was, denied everything. Lifting keeps the row: it is evidence."""

    __tablename__ = "quarantine"

    id: int | None = Field(default=None, primary_key=True)
    issuer: str
    subject: str
    reason: str
    since: datetime = Field(default_factory=now, sa_type=Instant)
    added_by: str = Field(max_length=12)
    lifted_at: datetime | None = Field(default=None, sa_type=Instant)
    lifted_by: str | None = Field(default=None, max_length=12)


class Issuer(Table, table=True):
    """An issuer of workload identities, with its vetted keys (JWK by key id)."""

    __tablename__ = "issuer"

    id: int | None = Field(default=None, primary_key=True)
    issuer: str
    audiences: list[str] = Field(sa_type=JSON)
    keys: dict[str, dict[str, Any]] = Field(sa_type=JSON)
    changed_at: datetime = Field(default_factory=now, sa_type=Instant)
