"""Batches of records and the decisions in them. The raw bytes lie in the object store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, LargeBinary, UniqueConstraint, text
from sqlmodel import Field

from app.control.store.columns import Digest, Instant, now
from app.control.store.table import Table

#: SQLite numbers rows by itself only when the key's type is exactly INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

#: More than the positions of any batch: it has 16 MiB at most.
POSITIONS = 1 << 24


def decision_row(batch: int, position: int) -> int:
    """The number of a decision's row. It follows from where its record lies, so that a change of it shows."""
    return batch * POSITIONS + position


class Batch(Table, table=True):
    """Bytes [first, last) of one record file of one sidecar, as they were received.

    There is one column more, `batch_words`, which is too large to be read with each row.
    """

    __tablename__ = "batch"
    __table_args__ = (
        UniqueConstraint("system", "sidecar", "instance", "file", "first"),
        Index(
            None,
            "system",
            "sidecar",
            "instance",
            "first_entry",
            unique=True,
            sqlite_where=text("first_entry IS NOT NULL"),
            postgresql_where=text("first_entry IS NOT NULL"),
        ),
        Index(None, "newest_ns", "id"),
        Index(None, "system", "sidecar", "newest_ns"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    system: str = Field(foreign_key="system.name", max_length=63)
    sidecar: str = Field(max_length=63)
    instance: str = Field(max_length=128)
    file: str = Field(max_length=128)
    first: int = Field(sa_type=BigInteger)
    last: int = Field(sa_type=BigInteger)
    #: Of the bytes that were received.
    sha256: str = Field(max_length=64)
    #: Where the records lie in the object store.
    object: str
    #: Lines that are no decisions: OPA's messages, and queries of other documents.
    other_lines: int
    received_at: datetime = Field(default_factory=now, sa_type=Instant)

    # What follows is of signed batches (`app.core.batch`), and None in those that came without a signature.

    #: The sequence of the first entry, over the life of the instance, and the number of entries.
    first_entry: int | None = Field(default=None, sa_type=BigInteger)
    entries: int | None = None
    #: The Merkle root, hexadecimal.
    root: str | None = Field(default=None, max_length=64)
    #: `sha256:…` of the signed statement, and of that of the batch before.
    payload: str | None = Field(default=None, max_length=71)
    previous: str | None = Field(default=None, max_length=71)
    #: `sha256:…` of the OPA that wrote the records.
    opa: str | None = Field(default=None, max_length=71)
    #: Where the Sigstore bundle, the salts and the leaf hashes lie in the object store.
    evidence: str | None = None
    salts: str | None = None
    leaves: str | None = None
    #: Where the statement stands in the lineage log, and when the timestamp authority saw its signature.
    log_index: int | None = Field(default=None, sa_type=BigInteger)
    signed_at: datetime | None = Field(default=None, sa_type=Instant)
    #: When the sidecar closed it, by its own clock, and how many answers of OPA it knows to have no record.
    closed_at: datetime | None = Field(default=None, sa_type=Instant)
    dropped: int | None = Field(default=None, sa_type=BigInteger)

    # What search and histograms ask, of every batch.

    #: The least and the greatest time of its decisions, and how many of them there are of each outcome.
    oldest_ns: int | None = Field(default=None, sa_type=BigInteger)
    newest_ns: int | None = Field(default=None, sa_type=BigInteger)
    allows: int | None = None
    denials: int | None = None
    unreadable: int | None = None

    #: Over what nobody signs of it (`app.control.store.sealing`).
    seal: bytes | None = None


#: Which words a batch's records may have (`app.core.word_filter`); NULL: any.
batch_words: Column[bytes | None] = Column("words", LargeBinary, nullable=True)
Batch.metadata.tables["batch"].append_column(batch_words)

_NO_ALLOW = text("outcome <> 'allow'")


class Decision(Table, table=True):
    """The searchable part of one record; the record itself lies in the batch's object (`app.control.raw_records`)."""

    __tablename__ = "decision"
    __table_args__ = (
        Index(None, "time_ns", "id"),
        Index(None, "system", "time_ns", "id"),
        # Most decisions allow: whoever looks for those finds them by time.
        Index(None, "outcome", "time_ns", "id", sqlite_where=_NO_ALLOW, postgresql_where=_NO_ALLOW),
        Index(None, "system", "outcome", "time_ns", "id", sqlite_where=_NO_ALLOW, postgresql_where=_NO_ALLOW),
        # Of texts that are long and of which each is another, and only asked for whole.
        Index(None, "decision_id", postgresql_using="hash"),
        Index(
            None,
            "mode",
            "time_ns",
            "id",
            sqlite_where=text("mode IS NOT NULL"),
            postgresql_where=text("mode IS NOT NULL"),
        ),
        Index(None, "batch"),
        Index(None, "subject_id", "time_ns", "id"),
        Index(None, "resource_id", "time_ns", "id"),
        Index(
            None,
            "execution",
            "time_ns",
            "id",
            sqlite_where=text("execution IS NOT NULL"),
            postgresql_where=text("execution IS NOT NULL"),
        ),
    )

    #: `decision_row`.
    id: int = Field(primary_key=True, sa_type=RowId, sa_column_kwargs={"autoincrement": False})
    batch: int = Field(foreign_key="batch.id", sa_type=BigInteger)
    system: str = Field(max_length=63)
    sidecar: str = Field(max_length=63)
    decision_id: str = Field(max_length=128)
    #: Nanoseconds since 1970, UTC: the record's own time, or the time of receipt when that is absurd.
    time_ns: int = Field(sa_type=BigInteger)
    #: allow, deny, or unreadable: what looks like a record and does not parse.
    outcome: str = Field(max_length=10)
    reasons: list[str] = Field(sa_type=JSON)
    subject_issuer: str | None = None
    subject_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    policy: str | None = Field(default=None, sa_type=Digest)
    library: str | None = Field(default=None, sa_type=Digest)
    #: shadow or break-glass, when the answer rests on one.
    mode: str | None = Field(default=None, max_length=16)
    #: The execution that the request named, or was inside of.
    execution: str | None = None
    #: The number of its entry in the batch; in one that is stored as plain lines, the byte at which its line begins.
    position: int = Field(sa_type=BigInteger)
    #: The erasure that emptied it (`app.control.erasure`).
    erased: int | None = None
