"""Warrants, executions and the keys that sign."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "redemption",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("jti", sa.String(length=64), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_redemption")),
    )
    op.create_index(op.f("ix_redemption_expires_at"), "redemption", ["expires_at"], unique=False)
    op.create_table(
        "signing_key",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("jwk", sa.JSON(), nullable=False),
        sa.Column("announced_at", sa.DateTime(), nullable=False),
        sa.Column("signs_from", sa.DateTime(), nullable=False),
        sa.Column("signed_until", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(), nullable=True),
        sa.Column("announced_by", sa.String(length=12), nullable=True),
        sa.Column("withdrawn_by", sa.String(length=12), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_key")),
    )
    op.create_index(op.f("ix_signing_key_purpose"), "signing_key", ["purpose"], unique=False)
    op.create_table(
        "execution",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("instance", sa.String(length=128), nullable=False),
        sa.Column("subject_issuer", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("warrants", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("started_by", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_execution_system")),
        sa.PrimaryKeyConstraint("system", "id", name=op.f("pk_execution")),
    )
    op.create_index(op.f("ix_execution_started_at_id"), "execution", ["started_at", "id"], unique=False)
    op.create_index(
        op.f("ix_execution_system_started_at_id"), "execution", ["system", "started_at", "id"], unique=False
    )
    op.create_table(
        "warrant",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("request_digest", sa.String(length=71), nullable=False),
        sa.Column("subject_issuer", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("actor_issuer", sa.String(), nullable=True),
        sa.Column("actor_id", sa.String(), nullable=True),
        sa.Column("how", sa.String(length=10), nullable=False),
        sa.Column("requested_by", sa.String(length=64), nullable=False),
        sa.Column("obtained", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=128), nullable=True),
        sa.Column("needs_approval", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=True),
        sa.Column("issued_at", sa.DateTime(), nullable=True),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_warrant_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_warrant")),
        sa.UniqueConstraint(
            "system", "requested_by", "idempotency_key", name=op.f("uq_warrant_system_requested_by_idempotency_key")
        ),
    )
    op.create_index(op.f("ix_warrant_created_at_id"), "warrant", ["created_at", "id"], unique=False)
    op.create_index(op.f("ix_warrant_system_created_at_id"), "warrant", ["system", "created_at", "id"], unique=False)
    op.create_table(
        "warrant_revocation",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("jti", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_by", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_warrant_revocation_system")),
        sa.PrimaryKeyConstraint("system", "jti", name=op.f("pk_warrant_revocation")),
    )
    op.create_table(
        "approval",
        sa.Column("warrant", sa.String(length=64), nullable=False),
        sa.Column("request_digest", sa.String(length=71), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("signed_at", sa.DateTime(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("received_by", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(["warrant"], ["warrant.id"], name=op.f("fk_approval_warrant")),
        sa.PrimaryKeyConstraint("warrant", name=op.f("pk_approval")),
    )


def downgrade() -> None:
    op.drop_table("approval")
    op.drop_table("warrant_revocation")
    op.drop_index(op.f("ix_warrant_system_created_at_id"), table_name="warrant")
    op.drop_index(op.f("ix_warrant_created_at_id"), table_name="warrant")
    op.drop_table("warrant")
    op.drop_index(op.f("ix_execution_system_started_at_id"), table_name="execution")
    op.drop_index(op.f("ix_execution_started_at_id"), table_name="execution")
    op.drop_table("execution")
    op.drop_index(op.f("ix_signing_key_purpose"), table_name="signing_key")
    op.drop_table("signing_key")
    op.drop_index(op.f("ix_redemption_expires_at"), table_name="redemption")
    op.drop_table("redemption")
