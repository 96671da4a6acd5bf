"""Systems, the releases that they carry, and the pointers of their channels."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.table import Table
from app.core.break_limit import Stored


class System(Table, table=True):
    """A set of OPAs that take the same policy, and who may sign for it."""

    __tablename__ = "system"

    name: str = Field(primary_key=True, max_length=63)
    #: [{"identity": …, "issuer": …}, {"pattern": …, "issuer": …}]
    identities: list[dict[str, str]] = Field(sa_type=JSON)
    #: ["TYPE", {"type": …, "condition": …}]
    required_predicates: list[str | dict[str, str]] = Field(default_factory=list, sa_type=JSON)
    #: The other members of the verification policy, as far as they are not as they are by default.
    release_rules: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    horizon_seconds: int
    #: Who may declare the two modes, in the same form.
    shadow: list[dict[str, str]] = Field(default_factory=list, sa_type=JSON)
    break_glass: list[dict[str, str]] = Field(default_factory=list, sa_type=JSON)
    #: What is borne of breaks of a kind before they stop a sidecar, as `app.core.break_limit` stores it.
    lineage_limits: dict[str, Stored] = Field(default_factory=dict, sa_type=JSON)
    #: What must be known of a release's effect before a channel points to it (`app.control.impact`); None: nothing.
    impact: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    created_at: datetime = Field(default_factory=now, sa_type=Instant)


class Carried(Table, table=True):
    """A system carries a release: its evidence satisfied this system's verification policy."""

    __tablename__ = "carried"

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    digest: str = Field(primary_key=True, foreign_key="release.digest", max_length=71)
    published_at: datetime = Field(default_factory=now, sa_type=Instant)
    published_by: str = Field(max_length=12)


class Pointer(Table, table=True):
    """One position of a channel. Positions are only added; the highest sequence is the current one."""

    __tablename__ = "pointer"

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    channel: str = Field(primary_key=True, max_length=63)
    sequence: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    release: str = Field(foreign_key="release.digest", max_length=71)
    set_at: datetime = Field(default_factory=now, sa_type=Instant)
    set_by: str = Field(max_length=12)
