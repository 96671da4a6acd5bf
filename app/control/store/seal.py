"""What the control plane itself says of a row that nobody else signs."""

from __future__ import annotations

from sqlmodel import Field

from app.control.store.table import Table


class Seal(Table, table=True):
    """An HMAC over a row as it is stored, made by the control plane that wrote it (`app.control.store.sealing`)."""

    __tablename__ = "seal"

    #: The row's table, and the columns that name the row, as JSON.
    about: str = Field(primary_key=True, max_length=63)
    key: str = Field(primary_key=True)
    mac: bytes
