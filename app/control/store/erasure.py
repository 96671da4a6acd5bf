"""What was erased, by whom and why; how long records are kept; and which ones a legal hold protects."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Index
from sqlmodel import Field

from app.control.store.columns import Instant, now
from app.control.store.decision import RowId
from app.control.store.table import Table

_NUMBERS = JSON(none_as_null=True)


class Erasure(Table, table=True):
    """One order to erase. Whom it was about is not kept: that would undo it."""

    __tablename__ = "erasure"

    id: int | None = Field(default=None, primary_key=True)
    #: subject, decisions, or retention.
    kind: str = Field(max_length=16)
    #: Of this system alone; None: of all.
    system: str | None = Field(default=None, foreign_key="system.name", max_length=63)
    reason: str
    #: How many decisions it is about; of retention, how many batches.
    decisions: int
    asked_at: datetime = Field(default_factory=now, sa_type=Instant)
    #: The name of the person's API token, and its id; of retention, of whoever set it.
    asked_by: str = Field(max_length=200)
    asked_token: str | None = Field(default=None, max_length=12)
    #: The breaks whose refused batches hold such records too (`app.control.refused_copies`).
    copies: list[int] = Field(default_factory=list, sa_type=JSON)
    #: When the last of it was gone from database and object store.
    done_at: datetime | None = Field(default=None, sa_type=Instant)


class ErasedBatch(Table, table=True):
    """What an erasure takes from one batch. Nothing is gone before `erased_at`."""

    __tablename__ = "erased_batch"
    __table_args__ = (Index(None, "batch"), Index(None, "erasure", "removed_at"))

    id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    erasure: int = Field(foreign_key="erasure.id")
    batch: int = Field(foreign_key="batch.id", sa_type=BigInteger)
    #: The decision rows that are to be emptied; None: every entry of the batch goes, and the rows stay as they are.
    decisions: list[int] | None = Field(default=None, sa_type=_NUMBERS)
    #: The numbers of the entries that are gone, from 0; None before that, and where all of them are.
    numbers: list[int] | None = Field(default=None, sa_type=_NUMBERS)
    #: When the batch's row named objects without them.
    erased_at: datetime | None = Field(default=None, sa_type=Instant)
    #: Objects that hold them still, until `removed_at`.
    leftover: list[str] = Field(default_factory=list, sa_type=JSON)
    removed_at: datetime | None = Field(default=None, sa_type=Instant)
    #: When its decision rows were deleted, which only retention does.
    rows_deleted_at: datetime | None = Field(default=None, sa_type=Instant)
    #: The hold because of which it waits.
    held_by: int | None = Field(default=None, foreign_key="hold.id")


class Retention(Table, table=True):
    """How long a system's records are kept, in days since their receipt."""

    __tablename__ = "retention"

    system: str = Field(primary_key=True, foreign_key="system.name", max_length=63)
    records_days: int
    #: How long the searchable columns are; None: for ever.
    columns_days: int | None = None
    set_at: datetime = Field(default_factory=now, sa_type=Instant)
    set_by: str = Field(max_length=200)
    set_token: str | None = Field(default=None, max_length=12)


class Hold(Table, table=True):
    """Records that may be neither erased nor deleted: those that all its members fit. Releasing it keeps the row."""

    __tablename__ = "hold"

    id: int | None = Field(default=None, primary_key=True)
    system: str | None = Field(default=None, foreign_key="system.name", max_length=63)
    subject_issuer: str | None = None
    subject_id: str | None = None
    execution: str | None = None
    #: Nanoseconds since 1970, both ends included.
    since_ns: int | None = Field(default=None, sa_type=BigInteger)
    until_ns: int | None = Field(default=None, sa_type=BigInteger)
    reason: str
    placed_at: datetime = Field(default_factory=now, sa_type=Instant)
    placed_by: str = Field(max_length=200)
    placed_token: str | None = Field(default=None, max_length=12)
    released_at: datetime | None = Field(default=None, sa_type=Instant)
    released_by: str | None = Field(default=None, max_length=200)
    released_token: str | None = Field(default=None, max_length=12)
    #: Why it was released.
    note: str | None = None
