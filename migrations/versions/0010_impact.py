"""Impact reports and judged breaks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("system", sa.Column("lineage_limits", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("system", sa.Column("impact", sa.JSON(), nullable=True))
    op.add_column("lineage_break", sa.Column("batch", sa.BigInteger(), nullable=True))
    # None of batches that were taken before, and of those that came without a signature.
    op.add_column("batch", sa.Column("closed_at", sa.DateTime(), nullable=True))
    op.add_column("batch", sa.Column("dropped", sa.BigInteger(), nullable=True))
    op.create_table(
        "trust_state",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("named", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_trust_state_system")),
        sa.PrimaryKeyConstraint("system", "digest", name=op.f("pk_trust_state")),
    )
    op.create_index(
        op.f("ix_trust_state_system_sidecar_named_received_at"),
        "trust_state",
        ["system", "sidecar", "named", "received_at"],
        unique=False,
    )
    op.create_table(
        "impact_report",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("release", sa.String(length=71), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("unavailable", sa.Integer(), nullable=False),
        sa.Column("inputs", sa.String(length=71), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(), nullable=False),
        sa.Column("recorded_by", sa.String(length=12), nullable=False),
        sa.Column("recorded_by_name", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_impact_report_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_impact_report")),
    )
    op.create_index(
        op.f("ix_impact_report_system_release_id"), "impact_report", ["system", "release", "id"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_impact_report_system_release_id"), table_name="impact_report")
    op.drop_table("impact_report")
    op.drop_index(op.f("ix_trust_state_system_sidecar_named_received_at"), table_name="trust_state")
    op.drop_table("trust_state")
    for table, columns in (
        ("batch", ("dropped", "closed_at")),
        ("lineage_break", ("batch",)),
        ("system", ("impact", "lineage_limits")),
    ):
        for column in columns:
            op.drop_column(table, column)
