"""Statements of sidecars about executions, releases and their own state. Their evidence lies in the object store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.decision import RowId
from app.control.store.table import Table


class Link(Table, table=True):
    """Statement `number` of the journal of one instance of a sidecar (`app.core.link`), as it was verified."""

    __tablename__ = "link"
    __table_args__ = (
        UniqueConstraint("system", "sidecar", "instance", "number"),
        Index(None, "execution", "system"),
        Index(None, "kind", "id"),
        Index(None, "system", "kind", "id"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    system: str = Field(foreign_key="system.name", max_length=63)
    sidecar: str = Field(max_length=63)
    instance: str = Field(max_length=128)
    number: int = Field(sa_type=BigInteger)
    #: `sha256:…` of the signed statement.
    payload: str = Field(max_length=71, index=True)
    #: `execution/start`, `trust-change` and so on.
    kind: str = Field(max_length=64)
    #: The execution that it is about; None for what is about the sidecar.
    execution: str | None = Field(default=None, max_length=128)
    #: The sidecar's own clock.
    at: datetime = Field(sa_type=Instant)
    #: When the timestamp authority saw the signature, and where the statement stands in the lineage log.
    signed_at: datetime = Field(sa_type=Instant)
    log_index: int = Field(sa_type=BigInteger)
    #: Where the Sigstore bundle lies in the object store, and its SHA-256.
    object: str
    evidence_sha256: str = Field(max_length=64)
    received_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: Over what nobody signs of it (`app.control.store.sealing`).
    seal: bytes | None = None


class LinkResource(Table, table=True):
    """What a statement is about or was made of, by its digest: this joins executions."""

    __tablename__ = "link_resource"
    __table_args__ = (Index(None, "sha256", "link"),)

    link: int = Field(primary_key=True, foreign_key="link.id", sa_type=BigInteger)
    #: Its place: the subjects first, then the materials.
    position: int = Field(primary_key=True)
    #: Whether it is a material; else a subject.
    material: bool
    name: str
    #: Hexadecimal.
    sha256: str = Field(max_length=64)
