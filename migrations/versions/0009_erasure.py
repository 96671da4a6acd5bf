"""Erasure, retention and holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # The erasure that emptied the row.
    op.add_column("decision", sa.Column("erased", sa.Integer(), nullable=True))
    op.create_table(
        "erasure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("decisions", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("asked_by", sa.String(length=200), nullable=False),
        sa.Column("asked_token", sa.String(length=12), nullable=True),
        sa.Column("copies", sa.JSON(), nullable=False),
        sa.Column("done_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_erasure_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=True),
        sa.Column("subject_issuer", sa.String(), nullable=True),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("execution", sa.String(), nullable=True),
        sa.Column("since_ns", sa.BigInteger(), nullable=True),
        sa.Column("until_ns", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("placed_at", sa.DateTime(), nullable=False),
        sa.Column("placed_by", sa.String(length=200), nullable=False),
        sa.Column("placed_token", sa.String(length=12), nullable=True),
        sa.Column("released_at", sa.DateTime(), nullable=True),
        sa.Column("released_by", sa.String(length=200), nullable=True),
        sa.Column("released_token", sa.String(length=12), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_hold_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
    )
    op.create_table(
        "retention",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("records_days", sa.Integer(), nullable=False),
        sa.Column("columns_days", sa.Integer(), nullable=True),
        sa.Column("set_at", sa.DateTime(), nullable=False),
        sa.Column("set_by", sa.String(length=200), nullable=False),
        sa.Column("set_token", sa.String(length=12), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_retention_system")),
        sa.PrimaryKeyConstraint("system", name=op.f("pk_retention")),
    )
    op.create_table(
        "erased_batch",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("erasure", sa.Integer(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("decisions", sa.JSON(), nullable=True),
        sa.Column("numbers", sa.JSON(), nullable=True),
        sa.Column("erased_at", sa.DateTime(), nullable=True),
        sa.Column("leftover", sa.JSON(), nullable=False),
        sa.Column("removed_at", sa.DateTime(), nullable=True),
        sa.Column("rows_deleted_at", sa.DateTime(), nullable=True),
        sa.Column("held_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["batch"], ["batch.id"], name=op.f("fk_erased_batch_batch")),
        sa.ForeignKeyConstraint(["erasure"], ["erasure.id"], name=op.f("fk_erased_batch_erasure")),
        sa.ForeignKeyConstraint(["held_by"], ["hold.id"], name=op.f("fk_erased_batch_held_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erased_batch")),
    )
    op.create_index(op.f("ix_erased_batch_batch"), "erased_batch", ["batch"], unique=False)
    op.create_index(op.f("ix_erased_batch_erasure_removed_at"), "erased_batch", ["erasure", "removed_at"], unique=False)


def downgrade() -> None:
    """What was erased stays so, and nothing says any more who did that and why."""
    op.drop_table("erased_batch")
    op.drop_table("retention")
    op.drop_table("hold")
    op.drop_table("erasure")
    op.drop_column("decision", "erased")
