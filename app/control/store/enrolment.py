"""How a sidecar comes to its token, and how it loses all of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Index, text
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table


class JoinToken(Table, table=True):
    """An invitation: exchanged once for an API token that is bound to one sidecar. Rows stay: they are evidence."""

    __tablename__ = "join_token"

    id: str = Field(primary_key=True, max_length=12)
    system: str = Field(foreign_key="system.name", max_length=63)
    sidecar: str = Field(max_length=63)
    #: Of 256 random bits.
    secret_sha256: str = Field(max_length=64)
    #: What the sidecar's API token will be allowed to do.
    scopes: list[str] = Field(sa_type=JSON)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: The API token of whoever invited; when it is revoked, so is the invitation.
    created_by: str = Field(max_length=12)
    expires_at: datetime = Field(sa_type=Instant)
    #: When it was exchanged, from which address, and for which API token.
    used_at: datetime | None = Field(default=None, sa_type=Instant)
    used_from: str | None = Field(default=None, max_length=64)
    api_token: str | None = Field(default=None, max_length=12)
    #: When it was withdrawn, by an eviction.
    void_at: datetime | None = Field(default=None, sa_type=Instant)
    #: How often somebody who knew the secret was refused, and when and from where last.
    refusals: int = Field(default=0)
    refused_at: datetime | None = Field(default=None, sa_type=Instant)
    refused_from: str | None = Field(default=None, max_length=64)


class Eviction(Table, table=True):
    """A sidecar that is, or was, evicted. Readmission keeps the row: it is evidence."""

    __tablename__ = "eviction"
    __table_args__ = (
        # At most one that is in force for each sidecar, whoever else evicts it at the same moment.
        Index(
            "ix_eviction_in_force",
            "system",
            "sidecar",
            unique=True,
            sqlite_where=text("readmitted_at IS NULL"),
            postgresql_where=text("readmitted_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    system: str = Field(foreign_key="system.name", max_length=63)
    sidecar: str = Field(max_length=63)
    reason: str
    evicted_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: Id and name of the API token with which it was done.
    evicted_by: str = Field(max_length=12)
    evicted_by_name: str = Field(max_length=200)
    readmitted_at: datetime | None = Field(default=None, sa_type=Instant)
    readmitted_by: str | None = Field(default=None, max_length=12)
    readmitted_by_name: str | None = Field(default=None, max_length=200)


class Allowance(Table, table=True):
    """A workload that may enrol as a sidecar by its identity. Rows stay when they have ended: they are evidence."""

    id: int | None = Field(default=None, primary_key=True)
    system: str = Field(foreign_key="system.name", max_length=63)
    #: The sidecar's name, or how it begins, with one trailing `*`.
    sidecar: str = Field(max_length=63)
    #: Whom the token must name, letter by letter.
    issuer: str = Field(max_length=2048)
    subject: str = Field(max_length=2048)
    #: When it was given: which tokens were too old by then. Evictions since then count as well.
    not_before: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: Id and name of the API token with which it was done.
    created_by: str = Field(max_length=12)
    created_by_name: str = Field(max_length=200)
    ended_at: datetime | None = Field(default=None, sa_type=Instant)
    ended_by: str | None = Field(default=None, max_length=12)
    ended_by_name: str | None = Field(default=None, max_length=200)
    #: The sidecar whose eviction ended it.
    evicted: str | None = Field(default=None, max_length=63)
    #: How often the workload was refused, and when and from where last.
    refusals: int = Field(default=0)
    refused_at: datetime | None = Field(default=None, sa_type=Instant)
    refused_from: str | None = Field(default=None, max_length=64)


class Enrolment(Table, table=True):
    """A sidecar that enrolled by its workload's identity, and the API token that it got. Rows stay."""

    id: int | None = Field(default=None, primary_key=True)
    system: str = Field(foreign_key="system.name", max_length=63)
    sidecar: str = Field(max_length=63)
    allowance: int = Field(foreign_key="allowance.id")
    #: Enough to find the identity token in its issuer's records, and nothing that could be used.
    token_sha256: str = Field(max_length=64)
    token_issued_at: datetime = Field(sa_type=Instant)
    enrolled_at: datetime = Field(default_factory=now, sa_type=Instant)
    enrolled_from: str = Field(max_length=64)
    api_token: str = Field(max_length=12)
