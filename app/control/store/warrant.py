"""Warrants that were asked for, who approved them, and what was revoked. No token is ever stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, Text, UniqueConstraint
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class Warrant(Table, table=True):
    """A warrant, or the request for one. Its token is signed anew from `claims` whenever it is handed out."""

    __tablename__ = "warrant"
    __table_args__ = (
        UniqueConstraint("system", "requested_by", "idempotency_key"),
        Index(None, "system", "created_at", "id"),
        Index(None, "created_at", "id"),
    )

    #: The `jti`.
    id: str = Field(primary_key=True, max_length=64)
    system: str = Field(foreign_key="system.name", max_length=63)
    #: `app.core.warrant_request.WarrantRequest`, as it was asked for.
    request: dict[str, Any] = Field(sa_type=JSON)
    request_digest: str = Field(max_length=71)
    subject_issuer: str
    subject_id: str
    actor_issuer: str | None = None
    actor_id: str | None = None
    #: `api`: issued to the holder of an API token; `exchange`: obtained for identity tokens (RFC 8693).
    how: str = Field(max_length=10)
    #: The API token's id, or a digest of who exchanged.
    requested_by: str = Field(max_length=64)
    #: What else is known of whoever asked, for people.
    obtained: dict[str, Any] = Field(sa_type=JSON)
    idempotency_key: str | None = Field(default=None, max_length=128)
    needs_approval: bool
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: None until it is issued.
    claims: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    issued_at: datetime | None = Field(default=None, sa_type=Instant)
    expires_at: datetime | None = Field(default=None, sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)


class Approval(Table, table=True):
    """An approver's signed statement about one request: the Sigstore bundle as it was verified."""

    __tablename__ = "approval"

    warrant: str = Field(primary_key=True, foreign_key="warrant.id", max_length=64)
    request_digest: str = Field(max_length=71)
    identity: str
    issuer: str
    signed_at: datetime = Field(sa_type=Instant)
    evidence: str = Field(sa_type=Text)
    received_at: datetime = Field(default_factory=now, sa_type=Instant)
    received_by: str = Field(max_length=12)


class WarrantRevocation(Table, table=True):
    """A `jti` that counts no longer in a system, whoever issued it. Published until the warrant would have expired."""

    __tablename__ = "warrant_revocation"

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    jti: str = Field(primary_key=True, max_length=64)
    expires_at: datetime = Field(sa_type=Instant)
    reason: str
    revoked_at: datetime = Field(default_factory=now, sa_type=Instant)
    revoked_by: str = Field(max_length=12)
