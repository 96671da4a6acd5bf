"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, LargeBinary, MetaData, TypeDecorator

from app.core.packed_digest import packed_digest as packed_digest
from app.core.packed_digest import unpacked_digest as unpacked_digest

#: Constraint names are fixed, so that migrations can name them on every database.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def name_constraints(metadata: MetaData) -> None:
    """Apply the naming rule to the tables' metadata; must run before the first table is declared."""
    metadata.naming_convention = NAMING


class Instant(TypeDecorator[datetime]):
    """A UTC time. SQLite keeps no zone, so it is stripped on the way in and put back on the way out."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Python to database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Database to Python."""
        return None if value is None else value.replace(tzinfo=UTC)


class Digest(TypeDecorator[str]):
    """A digest `sha256:…` in 33 bytes in the place of 71; any other text is kept as it is."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Python to database."""
        return packed_digest(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        """Database to Python. What was damaged is a text, too."""
        return None if value is None else unpacked_digest(bytes(value))


def now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)
