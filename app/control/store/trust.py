"""What every sidecar must know besides its release: quarantine, issuers, linked domains and grants."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, UniqueConstraint
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class Quarantine(Table, table=True):
    """What is, or was, denied everything. Lifting keeps the row: it is evidence."""

    __tablename__ = "quarantine"

    id: int | None = Field(default=None, primary_key=True)
    #: subject, execution, segment or domain.
    kind: str = Field(default="subject", max_length=16)
    #: Who vouches for the subject; empty for the other kinds.
    issuer: str
    #: The subject, or the name of what else is denied.
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
    #: oidc, kubernetes or spiffe.
    kind: str = Field(default="oidc", max_length=16)
    #: The trust domain on whose behalf it vouches; empty: our own.
    domain: str = Field(default="", max_length=255)
    #: Every subject that it vouches for begins so.
    names: str = ""
    audiences: list[str] = Field(sa_type=JSON)
    #: Empty while its keys are withdrawn.
    keys: dict[str, dict[str, Any]] = Field(sa_type=JSON)
    #: Certificates in PEM, one each.
    x509_roots: list[str] = Field(default_factory=list, sa_type=JSON)
    changed_at: datetime = Field(default_factory=now, sa_type=Instant)


class IssuerSource(Table, table=True):
    """Where an issuer's keys are fetched from again and again, and how that went."""

    __tablename__ = "issuer_source"

    issuer: int = Field(primary_key=True, foreign_key="issuer.id", sa_column_kwargs={"autoincrement": False})
    #: The address of the key set; with `discovered`, what the issuer's own document named last.
    uri: str
    discovered: bool
    #: JWK thumbprints (RFC 7638) of the only keys that are taken; empty: any.
    pins: list[str] = Field(sa_type=JSON)
    #: A CA in PEM that alone vouches for the server; None: the public ones.
    ca: str | None = None
    refresh_seconds: int
    #: Keys older than this are withdrawn.
    max_age_seconds: int
    etag: str | None = None
    #: The last attempt, and the last one that succeeded.
    tried_at: datetime | None = Field(default=None, sa_type=Instant)
    fetched_at: datetime | None = Field(default=None, sa_type=Instant)
    #: Why the last attempt failed; None when it did not.
    trouble: str | None = None
    #: Thumbprints of keys that were offered and are not pinned.
    refused: list[str] = Field(default_factory=list, sa_type=JSON)


class DomainLink(Table, table=True):
    """A foreign trust domain whose subjects are taken, and the keys of its warrants and attestation results."""

    __tablename__ = "domain_link"

    domain: str = Field(primary_key=True, max_length=255)
    #: Who signs its warrants and results: its control plane.
    signer: str
    #: JWK by key id; empty: none of its warrants, or results, are taken.
    warrant_keys: dict[str, dict[str, Any]] = Field(sa_type=JSON)
    attestation_keys: dict[str, dict[str, Any]] = Field(sa_type=JSON)
    since: datetime = Field(default_factory=now, sa_type=Instant)
    added_by: str = Field(max_length=12)


class SubjectGrant(Table, table=True):
    """What a subject may do beyond asking for itself."""

    __tablename__ = "subject_grant"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: int | None = Field(default=None, primary_key=True)
    issuer: str
    subject: str
    grants: list[str] = Field(sa_type=JSON)
    since: datetime = Field(default_factory=now, sa_type=Instant)
    added_by: str = Field(max_length=12)
