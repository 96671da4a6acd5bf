"""The last status of each sidecar."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class Sidecar(Table, table=True):
    """What a sidecar said about itself, and when we heard it. It is a claim, for people to look at."""

    __tablename__ = "sidecar"

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    name: str = Field(primary_key=True, max_length=63)
    instance: str
    channel: str
    reported_at: datetime = Field(sa_type=Instant)
    received_at: datetime = Field(default_factory=now, sa_type=Instant)
    healthy: bool
    #: [{"code": …, "detail": …}]
    reasons: list[dict[str, str]] = Field(sa_type=JSON)
    release: str | None = None
    sequence: int | None = Field(default=None, sa_type=BigInteger)
    library: str | None = None
    opa_digest: str | None = None
    lease_ttl_seconds: float
    #: The modes that it has verified and honours: [{"kind", "id", "until"}]
    modes: list[dict[str, str]] = Field(default_factory=list, sa_type=JSON)
    records_written: int = Field(sa_type=BigInteger)
    records_shipped: int = Field(sa_type=BigInteger)
