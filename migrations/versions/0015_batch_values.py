"""The values of each batch's decisions in columns without an index of their own, and how often each is there."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from alembic import op

from app.core.errors import PlacetError

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

#: Columns that hold one value, as it is or as a digest; `reasons` holds a list.
_COLUMNS = ("action", "resource_type", "subject_issuer", "policy", "reasons")
_OUTCOMES, _COUNTS = ("allow", "deny", "unreadable"), ("allows", "denials", "unreadable")
#: As `app.control.value_counts`, `record_lines` and `app.core.packed_digest` had it then.
_MAX_PLACES, _MAX_LENGTH = 128, 512
_AT_ONCE = 10_000


def upgrade() -> None:
    """Reads all decision rows."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.execute("SET LOCAL statement_timeout = 0")
    table = op.create_table(
        "batch_value",
        sa.Column("value", sa.String(length=540), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("places", sa.LargeBinary(), nullable=True),
        sa.Column("allows", sa.Integer(), nullable=False),
        sa.Column("denials", sa.Integer(), nullable=False),
        sa.Column("unreadable", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["batch.id"], name=op.f("fk_batch_value_batch")),
        sa.PrimaryKeyConstraint("value", "batch", name=op.f("pk_batch_value")),
    )
    rows = _counted(connection)
    while some := list(islice(rows, _AT_ONCE)):
        connection.execute(table.insert(), some)
    op.create_index(op.f("ix_batch_value_batch"), "batch_value", ["batch"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_batch_value_batch"), table_name="batch_value")
    op.drop_table("batch_value")


def _counted(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    """The rows, batch by batch."""
    columns = ", ".join(f"CAST({one} AS TEXT)" if one == "reasons" else one for one in _COLUMNS)
    query = sa.text(f"SELECT batch, position, outcome, {columns} FROM decision ORDER BY batch, position")  # noqa: S608
    rows = connection.execute(query.execution_options(stream_results=True, yield_per=_AT_ONCE))
    for batch, of_batch in groupby(rows, itemgetter(0)):
        found: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        for _, position, outcome, *values in of_batch:
            try:
                of_row = [
                    (name, text) for name, raw in zip(_COLUMNS, values, strict=True) for text in _texts(name, raw)
                ]
                slot = _OUTCOMES.index(outcome)
            except (ValueError, TypeError, RecursionError) as error:
                raise PlacetError(
                    f"the decision at {position} of batch {batch} is none: somebody changed it; the version before "
                    "this one says what it was (placet server fsck). Put it right, then migrate"
                ) from error
            for one in of_row:
                places, counts = found.setdefault(one, ([], [0, 0, 0]))
                places.append(position)
                counts[slot] += 1
        for (name, value), (places, counts) in found.items():
            named = f"{'reason' if name == 'reasons' else name}={value}"
            yield {"value": named, "batch": batch} | {
                "places": _packed(places),
                **dict(zip(_COUNTS, counts, strict=True)),
            }


def _texts(name: str, raw: Any) -> set[str]:
    """Raises `ValueError`, `TypeError` for what cannot have been stored."""
    if raw is None:
        return set()
    if name == "reasons":
        found = set(json.loads(raw))
    elif isinstance(raw, bytes | memoryview):
        stored = bytes(raw)
        found = {f"sha256:{stored[1:].hex()}" if stored[:1] == b"\x01" else stored[1:].decode("utf-8", "replace")}
    else:
        found = {raw}
    if not all(isinstance(one, str) and len(one) <= _MAX_LENGTH and "\0" not in one for one in found):
        raise ValueError(name)
    return found


def _packed(places: list[int]) -> bytes | None:
    if len(places) > _MAX_PLACES:
        return None
    return struct.pack(f"<{len(places)}{'H' if places[-1] < 1 << 16 else 'I'}", *places)
