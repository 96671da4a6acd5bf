"""API tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class ApiToken(Table, table=True):
    """A token: its secret is kept only as a SHA-256, which is enough for 256 random bits."""

    __tablename__ = "api_token"

    id: str = Field(primary_key=True, max_length=12)
    name: str = Field(max_length=200)
    secret_sha256: str = Field(max_length=64)
    scopes: list[str] = Field(sa_type=JSON)
    #: The one system that it may act for; None: every system.
    system: str | None = Field(default=None, max_length=63)
    #: The one sidecar of that system that it may act for; None: it is not a sidecar's own.
    sidecar: str | None = Field(default=None, max_length=63)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    created_by: str | None = Field(default=None, max_length=12)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)
