"""Statements of sidecars about executions and releases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "link",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("instance", sa.String(length=128), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.String(length=71), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("execution", sa.String(length=128), nullable=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("signed_at", sa.DateTime(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("evidence_sha256", sa.String(length=64), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_link_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link")),
        sa.UniqueConstraint(
            "system", "sidecar", "instance", "number", name=op.f("uq_link_system_sidecar_instance_number")
        ),
    )
    op.create_index(op.f("ix_link_execution_system"), "link", ["execution", "system"], unique=False)
    op.create_index(op.f("ix_link_payload"), "link", ["payload"], unique=False)
    op.create_index(op.f("ix_link_kind_id"), "link", ["kind", "id"], unique=False)
    op.create_index(op.f("ix_link_system_kind_id"), "link", ["system", "kind", "id"], unique=False)
    op.create_table(
        "link_resource",
        sa.Column("link", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("material", sa.Boolean(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["link"], ["link.id"], name=op.f("fk_link_resource_link")),
        sa.PrimaryKeyConstraint("link", "position", name=op.f("pk_link_resource")),
    )
    op.create_index(op.f("ix_link_resource_sha256_link"), "link_resource", ["sha256", "link"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_link_resource_sha256_link"), table_name="link_resource")
    op.drop_table("link_resource")
    op.drop_index(op.f("ix_link_system_kind_id"), table_name="link")
    op.drop_index(op.f("ix_link_kind_id"), table_name="link")
    op.drop_index(op.f("ix_link_payload"), table_name="link")
    op.drop_index(op.f("ix_link_execution_system"), table_name="link")
    op.drop_table("link")
