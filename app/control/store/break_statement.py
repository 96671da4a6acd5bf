"""What the control plane has signed of breaks of lineage. The evidence lies in the object store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, UniqueConstraint, exists
from sqlmodel import Field, col, or_, select

from app.control.store.columns import Instant
from app.control.store.lineage import LineageBreak
from app.control.store.table import Table


class SignedBreak(Table, table=True):
    """That a break was opened, or cleared (`app.core.break_statement`). A break without one is yet to be signed."""

    __tablename__ = "signed_break"
    __table_args__ = (UniqueConstraint("broken", "change"),)

    id: int | None = Field(default=None, primary_key=True)
    broken: int = Field(foreign_key="lineage_break.id")
    #: opened or cleared.
    change: str = Field(max_length=16)
    #: `sha256:…` of the signed statement.
    payload: str = Field(max_length=71)
    #: When the timestamp authority saw the signature, and where the statement stands in the lineage log.
    signed_at: datetime = Field(sa_type=Instant)
    log_index: int = Field(sa_type=BigInteger)
    #: Where the Sigstore bundle lies in the object store, and its SHA-256.
    object: str
    evidence_sha256: str = Field(max_length=64)


def counts() -> ColumnElement[bool]:
    """Of a break: whether it counts, and so is signed. One that no sidecar signed, and nothing taken says, does not."""
    return or_(col(LineageBreak.stops), col(LineageBreak.batch).is_not(None))


def lacks(change: str) -> ColumnElement[bool]:
    """Of a break: whether its opening or its clearing is not signed yet."""
    return ~exists(select(SignedBreak.id).where(SignedBreak.broken == LineageBreak.id, SignedBreak.change == change))
