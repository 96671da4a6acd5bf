"""Tokens of one sidecar, invitations by which sidecars come to them, and evictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_token", sa.Column("sidecar", sa.String(length=63), nullable=True))
    op.create_table(
        "join_token",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=12), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.Column("used_from", sa.String(length=64), nullable=True),
        sa.Column("api_token", sa.String(length=12), nullable=True),
        sa.Column("void_at", sa.DateTime(), nullable=True),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("refused_at", sa.DateTime(), nullable=True),
        sa.Column("refused_from", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_join_token_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_token")),
    )
    op.create_table(
        "eviction",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("evicted_at", sa.DateTime(), nullable=False),
        sa.Column("evicted_by", sa.String(length=12), nullable=False),
        sa.Column("evicted_by_name", sa.String(length=200), nullable=False),
        sa.Column("readmitted_at", sa.DateTime(), nullable=True),
        sa.Column("readmitted_by", sa.String(length=12), nullable=True),
        sa.Column("readmitted_by_name", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_eviction_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_eviction")),
    )
    op.create_index(
        "ix_eviction_in_force",
        "eviction",
        ["system", "sidecar"],
        unique=True,
        sqlite_where=sa.text("readmitted_at IS NULL"),
        postgresql_where=sa.text("readmitted_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_eviction_in_force", table_name="eviction")
    op.drop_table("eviction")
    op.drop_table("join_token")
    op.drop_column("api_token", "sidecar")
