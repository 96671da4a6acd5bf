"""Executions that redeemed warrants, and how often each warrant was used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class Execution(Table, table=True):
    """An execution that was started with warrants of limited use. Rows stay: no id is taken twice."""

    __tablename__ = "execution"
    __table_args__ = (Index(None, "system", "started_at", "id"), Index(None, "started_at", "id"))

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    id: str = Field(primary_key=True, max_length=128)
    sidecar: str = Field(max_length=63)
    instance: str = Field(max_length=128)
    subject_issuer: str
    subject_id: str
    #: [{"jti", "issuer", "uses", "expires_at"}], by issuer and jti.
    warrants: list[dict[str, Any]] = Field(sa_type=JSON)
    started_at: datetime = Field(default_factory=now, sa_type=Instant)
    started_by: str = Field(max_length=12)


class Redemption(Table, table=True):
    """How often one warrant was used. It goes once the warrant has expired: nobody can start anything with it then."""

    __tablename__ = "redemption"

    #: SHA-256 of issuer and jti: an issuer's name may be longer than an index takes.
    key: str = Field(primary_key=True, max_length=64)
    issuer: str
    jti: str = Field(max_length=64)
    uses: int = Field(sa_type=BigInteger)
    used: int = Field(default=0, sa_type=BigInteger)
    expires_at: datetime = Field(sa_type=Instant, index=True)
