"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import DateTime, Dialect, LargeBinary, MetaData, TypeDecorator

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

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


@lru_cache(maxsize=1024)
def packed_digest(value: str | None) -> bytes | None:
    """The text as a column of `Digest` holds it."""
    if value is None:
        return None
    if _DIGEST.fullmatch(value):
        return b"\x01" + bytes.fromhex(value[7:])
    return b"\x00" + value.encode()


def unpacked_digest(value: bytes) -> str:
    """The text of which the column holds `value`."""
    return f"sha256:{value[1:].hex()}" if value[:1] == b"\x01" else value[1:].decode("utf-8", "replace")


def now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)
