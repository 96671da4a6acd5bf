"""Governance: issuers that are refreshed, linked domains, grants, governance, modes, attestation results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("kind", sa.String(length=16), nullable=False, server_default="subject"))
    op.add_column("issuer", sa.Column("kind", sa.String(length=16), nullable=False, server_default="oidc"))
    op.add_column("issuer", sa.Column("domain", sa.String(length=255), nullable=False, server_default=""))
    op.add_column("issuer", sa.Column("names", sa.String(), nullable=False, server_default=""))
    op.add_column("issuer", sa.Column("x509_roots", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("system", sa.Column("shadow", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("system", sa.Column("break_glass", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("sidecar", sa.Column("modes", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("decision", sa.Column("mode", sa.String(length=16), nullable=True))
    op.add_column("decision", sa.Column("execution", sa.String(), nullable=True))
    op.create_index(
        op.f("ix_decision_mode_time_ns_id"),
        "decision",
        ["mode", "time_ns", "id"],
        unique=False,
        sqlite_where=sa.text("mode IS NOT NULL"),
        postgresql_where=sa.text("mode IS NOT NULL"),
    )
    op.create_table(
        "issuer_source",
        sa.Column("issuer", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("discovered", sa.Boolean(), nullable=False),
        sa.Column("pins", sa.JSON(), nullable=False),
        sa.Column("ca", sa.String(), nullable=True),
        sa.Column("refresh_seconds", sa.Integer(), nullable=False),
        sa.Column("max_age_seconds", sa.Integer(), nullable=False),
        sa.Column("etag", sa.String(), nullable=True),
        sa.Column("tried_at", sa.DateTime(), nullable=True),
        sa.Column("fetched_at", sa.DateTime(), nullable=True),
        sa.Column("trouble", sa.String(), nullable=True),
        sa.Column("refused", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["issuer"], ["issuer.id"], name=op.f("fk_issuer_source_issuer")),
        sa.PrimaryKeyConstraint("issuer", name=op.f("pk_issuer_source")),
    )
    op.create_table(
        "domain_link",
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("signer", sa.String(), nullable=False),
        sa.Column("warrant_keys", sa.JSON(), nullable=False),
        sa.Column("attestation_keys", sa.JSON(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("added_by", sa.String(length=12), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_domain_link")),
    )
    op.create_table(
        "subject_grant",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("grants", sa.JSON(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("added_by", sa.String(length=12), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subject_grant")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_subject_grant_issuer_subject")),
    )
    op.create_table(
        "governance",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("set_at", sa.DateTime(), nullable=False),
        sa.Column("set_by", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_governance_system")),
        sa.PrimaryKeyConstraint("system", "version", name=op.f("pk_governance")),
    )
    op.create_table(
        "mode",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("begins_at", sa.DateTime(), nullable=False),
        sa.Column("ends_at", sa.DateTime(), nullable=False),
        sa.Column("predicate", sa.JSON(), nullable=False),
        sa.Column("signers", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("published_at", sa.DateTime(), nullable=False),
        sa.Column("published_by", sa.String(length=12), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("ended_by", sa.String(length=12), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_mode_system")),
        sa.PrimaryKeyConstraint("system", "id", name=op.f("pk_mode")),
    )
    op.create_table(
        "attestation_result",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("submods", sa.JSON(), nullable=False),
        sa.Column("basis", sa.JSON(), nullable=False),
        sa.Column("issued_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_because", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_attestation_result_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attestation_result")),
    )
    op.create_index(
        op.f("ix_attestation_result_system_expires_at"), "attestation_result", ["system", "expires_at"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_attestation_result_system_expires_at"), table_name="attestation_result")
    for table in (
        "attestation_result",
        "mode",
        "governance",
        "subject_grant",
        "domain_link",
        "issuer_source",
    ):
        op.drop_table(table)
    op.drop_index(op.f("ix_decision_mode_time_ns_id"), table_name="decision")
    for table, columns in (
        ("decision", ("execution", "mode")),
        ("sidecar", ("modes",)),
        ("system", ("break_glass", "shadow")),
        ("issuer", ("x509_roots", "names", "domain", "kind")),
        ("quarantine", ("kind",)),
    ):
        for column in columns:
            op.drop_column(table, column)
