"""What the control plane has signed of breaks of lineage, and of their clearing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signed_break",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("broken", sa.Integer(), nullable=False),
        sa.Column("change", sa.String(length=16), nullable=False),
        sa.Column("payload", sa.String(length=71), nullable=False),
        sa.Column("signed_at", sa.DateTime(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("evidence_sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["broken"], ["lineage_break.id"], name="fk_signed_break_broken"),
        sa.PrimaryKeyConstraint("id", name="pk_signed_break"),
        sa.UniqueConstraint("broken", "change", name="uq_signed_break_broken_change"),
    )


def downgrade() -> None:
    op.drop_table("signed_break")
