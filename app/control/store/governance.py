"""What holds for one system: its governance, the modes in force, and attestation results about its sidecars."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class Governance(Table, table=True):
    """One version of a system's governance document. Versions are only added; the highest is in force."""

    __tablename__ = "governance"

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    #: A `GovernanceDocument`.
    document: dict[str, Any] = Field(sa_type=JSON)
    set_at: datetime = Field(default_factory=now, sa_type=Instant)
    set_by: str = Field(max_length=12)


class Mode(Table, table=True):
    """A signed mode of a system, shadow or break-glass. Its row stays after it ended: it is evidence."""

    __tablename__ = "mode"

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    id: str = Field(primary_key=True, max_length=64)
    #: shadow or break-glass.
    kind: str = Field(max_length=16)
    reason: str
    begins_at: datetime = Field(sa_type=Instant)
    ends_at: datetime = Field(sa_type=Instant)
    #: The verified predicate: what it is about.
    predicate: dict[str, Any] = Field(sa_type=JSON)
    #: [{"identity": …, "issuer": …}], in the order of `evidence`.
    signers: list[dict[str, str]] = Field(sa_type=JSON)
    #: Sigstore bundles as JSON text.
    evidence: list[str] = Field(sa_type=JSON)
    published_at: datetime = Field(default_factory=now, sa_type=Instant)
    published_by: str = Field(max_length=12)
    #: When somebody ended it before its time.
    ended_at: datetime | None = Field(default=None, sa_type=Instant)
    ended_by: str | None = Field(default=None, max_length=12)


class AttestationResult(Table, table=True):
    """A result that was issued to a sidecar, and what it rests on."""

    __tablename__ = "attestation_result"
    __table_args__ = (Index(None, "system", "expires_at"),)

    #: The result's jti.
    id: str = Field(primary_key=True, max_length=64)
    system: str = Field(foreign_key="system.name", max_length=63)
    sidecar: str = Field(max_length=63)
    subject: str
    #: What was appraised, by kind: the result's submods.
    submods: dict[str, dict[str, str | list[str]]] = Field(sa_type=JSON)
    #: What it rests on: [{"type", …}], see `app.control.attestation_evidence`.
    basis: list[dict[str, Any]] = Field(sa_type=JSON)
    issued_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant)
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)
    revoked_because: str | None = None
