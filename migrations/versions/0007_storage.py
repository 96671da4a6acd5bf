"""Records in frames, named by their number; and which words a batch may have, in the place of text in each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

from app.control.store.columns import packed_digest, unpacked_digest

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_DIGESTS = ("policy", "library")
_OUTCOMES = (["outcome", "time_ns", "id"], ["system", "outcome", "time_ns", "id"])
_NO_ALLOW = sa.text("outcome <> 'allow'")


def upgrade() -> None:
    op.add_column("batch", sa.Column("words", sa.LargeBinary(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        # Not compressed, which it cannot be: so 64 bytes of it are read without the rest.
        op.execute("ALTER TABLE batch ALTER COLUMN words SET STORAGE EXTERNAL")
    # Of the batches that are there, which are plain lines, it stays the byte at which the record's line begins.
    op.execute('ALTER TABLE decision RENAME COLUMN "offset" TO position')
    op.drop_column("decision", "length")
    op.drop_column("decision", "text")
    for name in _DIGESTS:
        _converted(name, sa.LargeBinary(), packed_digest)
    for columns in _OUTCOMES:
        op.drop_index(_name(columns), table_name="decision")
        op.create_index(_name(columns), "decision", columns, sqlite_where=_NO_ALLOW, postgresql_where=_NO_ALLOW)
    op.drop_index(_name(["decision_id"]), table_name="decision")
    op.create_index(_name(["decision_id"]), "decision", ["decision_id"], postgresql_using="hash")


def downgrade() -> None:
    """The texts are gone; and records in frames are not to be found by what reads plain lines."""
    op.drop_index(_name(["decision_id"]), table_name="decision")
    op.create_index(_name(["decision_id"]), "decision", ["decision_id"])
    for columns in _OUTCOMES:
        op.drop_index(_name(columns), table_name="decision")
        op.create_index(_name(columns), "decision", columns)
    for name in _DIGESTS:
        _converted(name, sa.String(), lambda value: unpacked_digest(bytes(value)))
    op.add_column("decision", sa.Column("text", sa.String(), nullable=False, server_default=""))
    op.add_column("decision", sa.Column("length", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute('ALTER TABLE decision RENAME COLUMN position TO "offset"')
    op.drop_column("batch", "words")


def _converted(name: str, kind: sa.types.TypeEngine[Any], form: Callable[[Any], Any]) -> None:
    """Give a column of `decision` another type. It has few different values."""
    old, new = sa.column(name), sa.column(f"{name}_new")
    op.add_column("decision", sa.Column(new.name, kind, nullable=True))
    table = sa.table("decision", old, new)
    connection = op.get_bind()
    for (value,) in connection.execute(sa.select(old).select_from(table).where(old.is_not(None)).distinct()).all():
        connection.execute(sa.update(table).where(old == value).values({new.name: form(value)}))
    op.drop_column("decision", name)
    op.execute(f"ALTER TABLE decision RENAME COLUMN {new.name} TO {name}")


def _name(columns: list[str]) -> str:
    return op.f(f"ix_decision_{'_'.join(columns)}")
