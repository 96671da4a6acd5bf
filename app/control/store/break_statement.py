"""What the control plane has signed of breaks of lineage. The evidence lies in the object store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, UniqueConstraint, exists
from sqlmodel import Field, and_, col, or_, select

from app.control.store.columns import Instant
from app.control.store.lineage import LineageBreak
from app.control.store.table import Table


class SignedBreak(Table, table=True):
    """That a break was opened, stopped its sidecar after a time, or was cleared (`app.core.break_statement`).

    A break without one is yet to be signed.
    """

    __tablename__ = "signed_break"
    __table_args__ = (UniqueConstraint("broken", "change"),)

    id: int | None = Field(default=None, primary_key=True)
    broken: int = Field(foreign_key="lineage_break.id")
    #: opened, stopped or cleared.
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


def stopped(at: datetime) -> ColumnElement[bool]:
    """Of a break that its system bore for a time: whether that time is over, and nobody cleared it within."""
    since, cleared = col(LineageBreak.stops_at), col(LineageBreak.cleared_at)
    return and_(col(LineageBreak.stops), since <= at, or_(cleared.is_(None), cleared > since))


def lacks(change: str) -> ColumnElement[bool]:
    """Of a break: whether this change of it is not signed yet."""
    signed = select(SignedBreak.id).where(SignedBreak.broken == LineageBreak.id, SignedBreak.change == change)
    return ~exists(signed.correlate(LineageBreak))
