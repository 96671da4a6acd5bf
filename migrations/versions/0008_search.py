"""Search: what batches say of their decisions' times and outcomes, indexes, saved searches; and forwarding."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("oldest_ns", sa.BigInteger()),
    ("newest_ns", sa.BigInteger()),
    ("allows", sa.Integer()),
    ("denials", sa.Integer()),
    ("unreadable", sa.Integer()),
)
_INDEXES = (
    ("batch", ["newest_ns", "id"], None),
    ("decision", ["batch"], None),
    ("decision", ["subject_id", "time_ns", "id"], None),
    ("decision", ["resource_id", "time_ns", "id"], None),
    ("decision", ["execution", "time_ns", "id"], "execution IS NOT NULL"),
)
_FILL = """
UPDATE batch SET
  oldest_ns = (SELECT min(time_ns) FROM decision WHERE decision.batch = batch.id),
  newest_ns = (SELECT max(time_ns) FROM decision WHERE decision.batch = batch.id),
  allows = (SELECT count(*) FROM decision WHERE decision.batch = batch.id AND outcome = 'allow'),
  denials = (SELECT count(*) FROM decision WHERE decision.batch = batch.id AND outcome = 'deny'),
  unreadable = (SELECT count(*) FROM decision WHERE decision.batch = batch.id AND outcome = 'unreadable')
"""


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("batch", sa.Column(name, kind, nullable=True))
    for table, columns, condition in _INDEXES:
        where = sa.text(condition) if condition else None
        op.create_index(_name(table, columns), table, columns, unique=False, sqlite_where=where, postgresql_where=where)
    op.execute(_FILL)
    op.create_table(
        "saved_search",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("filter", sa.JSON(), nullable=False),
        sa.Column("saved_by", sa.String(length=200), nullable=False),
        sa.Column("saved_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("system", "name", name=op.f("pk_saved_search")),
    )
    op.create_table(
        "forward",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=True),
        sa.Column("target", sa.String(length=2000), nullable=False),
        sa.Column("added_by", sa.String(length=200), nullable=False),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(length=300), nullable=True),
        sa.Column("next_try", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_forward_system")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_forward")),
    )
    op.create_table(
        "forward_batch",
        sa.Column("forward", sa.String(length=63), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["batch.id"], name=op.f("fk_forward_batch_batch")),
        sa.ForeignKeyConstraint(["forward"], ["forward.name"], name=op.f("fk_forward_batch_forward")),
        sa.PrimaryKeyConstraint("forward", "batch", name=op.f("pk_forward_batch")),
    )


def downgrade() -> None:
    op.drop_table("forward_batch")
    op.drop_table("forward")
    op.drop_table("saved_search")
    for table, columns, _ in reversed(_INDEXES):
        op.drop_index(_name(table, columns), table_name=table)
    for name, _ in reversed(_COLUMNS):
        op.drop_column("batch", name)


def _name(table: str, columns: list[str]) -> str:
    return str(op.f(f"ix_{table}_{'_'.join(columns)}"))
