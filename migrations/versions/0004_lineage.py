"""Signed batches: what their statements say of them, and the breaks of sidecars' lineage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: None in batches that came without a signature.
_COLUMNS = (
    ("first_entry", sa.BigInteger()),
    ("entries", sa.Integer()),
    ("root", sa.String(length=64)),
    ("payload", sa.String(length=71)),
    ("previous", sa.String(length=71)),
    ("opa", sa.String(length=71)),
    ("evidence", sa.String()),
    ("salts", sa.String()),
    ("leaves", sa.String()),
    ("log_index", sa.BigInteger()),
    ("signed_at", sa.DateTime()),
)
_INDEX = "ix_batch_system_sidecar_instance_first_entry"


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("batch", sa.Column(name, kind, nullable=True))
    op.create_index(
        op.f(_INDEX),
        "batch",
        ["system", "sidecar", "instance", "first_entry"],
        unique=True,
        sqlite_where=sa.text("first_entry IS NOT NULL"),
        postgresql_where=sa.text("first_entry IS NOT NULL"),
    )
    op.create_table(
        "lineage_break",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("instance", sa.String(length=128), nullable=True),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("stops", sa.Boolean(), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(), nullable=True),
        sa.Column("opened_at", sa.DateTime(), nullable=False),
        sa.Column("cleared_at", sa.DateTime(), nullable=True),
        sa.Column("cleared_by", sa.String(length=200), nullable=True),
        sa.Column("cleared_token", sa.String(length=12), nullable=True),
        sa.Column("note", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_lineage_break_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lineage_break")),
    )
    op.create_index(
        op.f("ix_lineage_break_system_sidecar_cleared_at"),
        "lineage_break",
        ["system", "sidecar", "cleared_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_lineage_break_system_sidecar_cleared_at"), table_name="lineage_break")
    op.drop_table("lineage_break")
    op.drop_index(op.f(_INDEX), table_name="batch")
    for name, _ in reversed(_COLUMNS):
        op.drop_column("batch", name)
