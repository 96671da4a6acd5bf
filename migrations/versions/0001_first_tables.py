"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_token",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=12), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
    )
    op.create_table(
        "issuer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("audiences", sa.JSON(), nullable=False),
        sa.Column("keys", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuer")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("added_by", sa.String(length=12), nullable=False),
        sa.Column("lifted_at", sa.DateTime(), nullable=True),
        sa.Column("lifted_by", sa.String(length=12), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "release",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("entrypoint", sa.String(), nullable=False),
        sa.Column("roots", sa.JSON(), nullable=False),
        sa.Column("signer_identity", sa.String(), nullable=False),
        sa.Column("signer_issuer", sa.String(), nullable=False),
        sa.Column("signed_at", sa.DateTime(), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("bundle_length", sa.Integer(), nullable=False),
        sa.Column("signature_length", sa.Integer(), nullable=False),
        sa.Column("signature_sha256", sa.String(length=64), nullable=False),
        sa.Column("attestations_length", sa.Integer(), nullable=False),
        sa.Column("attestations_sha256", sa.String(length=64), nullable=False),
        sa.Column("taken_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_release")),
    )
    op.create_table(
        "system",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("identities", sa.JSON(), nullable=False),
        sa.Column("required_predicates", sa.JSON(), nullable=False),
        sa.Column("horizon_seconds", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_system")),
    )
    op.create_table(
        "tuf_metadata",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("written_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tuf_metadata")),
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("instance", sa.String(length=128), nullable=False),
        sa.Column("file", sa.String(length=128), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("other_lines", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_batch_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sa.UniqueConstraint(
            "system", "sidecar", "instance", "file", "first", name=op.f("uq_batch_system_sidecar_instance_file_first")
        ),
    )
    op.create_table(
        "carried",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("published_at", sa.DateTime(), nullable=False),
        sa.Column("published_by", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["release.digest"], name=op.f("fk_carried_digest")),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_carried_system")),
        sa.PrimaryKeyConstraint("system", "digest", name=op.f("pk_carried")),
    )
    op.create_table(
        "evidence",
        sa.Column("release", sa.String(length=71), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("predicate_type", sa.String(), nullable=False),
        sa.Column("signer_identity", sa.String(), nullable=False),
        sa.Column("signer_issuer", sa.String(), nullable=False),
        sa.Column("signed_at", sa.DateTime(), nullable=False),
        sa.Column("statement", sa.JSON(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("taken_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["release"], ["release.digest"], name=op.f("fk_evidence_release")),
        sa.PrimaryKeyConstraint("release", "sha256", name=op.f("pk_evidence")),
    )
    op.create_table(
        "pointer",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("channel", sa.String(length=63), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("release", sa.String(length=71), nullable=False),
        sa.Column("set_at", sa.DateTime(), nullable=False),
        sa.Column("set_by", sa.String(length=12), nullable=False),
        sa.ForeignKeyConstraint(["release"], ["release.digest"], name=op.f("fk_pointer_release")),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_pointer_system")),
        sa.PrimaryKeyConstraint("system", "channel", "sequence", name=op.f("pk_pointer")),
    )
    op.create_table(
        "sidecar",
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("instance", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("reported_at", sa.DateTime(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("healthy", sa.Boolean(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("release", sa.String(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("library", sa.String(), nullable=True),
        sa.Column("opa_digest", sa.String(), nullable=True),
        sa.Column("lease_ttl_seconds", sa.Float(), nullable=False),
        sa.Column("records_written", sa.BigInteger(), nullable=False),
        sa.Column("records_shipped", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["system.name"], name=op.f("fk_sidecar_system")),
        sa.PrimaryKeyConstraint("system", "name", name=op.f("pk_sidecar")),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("system", sa.String(length=63), nullable=False),
        sa.Column("sidecar", sa.String(length=63), nullable=False),
        sa.Column("decision_id", sa.String(length=128), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("subject_issuer", sa.String(), nullable=True),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("resource_type", sa.String(), nullable=True),
        sa.Column("resource_id", sa.String(), nullable=True),
        sa.Column("policy", sa.String(), nullable=True),
        sa.Column("library", sa.String(), nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["batch.id"], name=op.f("fk_decision_batch")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
    )
    op.create_index(op.f("ix_decision_decision_id"), "decision", ["decision_id"], unique=False)
    op.create_index(op.f("ix_decision_outcome_time_ns_id"), "decision", ["outcome", "time_ns", "id"], unique=False)
    op.create_index(
        op.f("ix_decision_system_outcome_time_ns_id"), "decision", ["system", "outcome", "time_ns", "id"], unique=False
    )
    op.create_index(op.f("ix_decision_system_time_ns_id"), "decision", ["system", "time_ns", "id"], unique=False)
    op.create_index(op.f("ix_decision_time_ns_id"), "decision", ["time_ns", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_decision_time_ns_id"), table_name="decision")
    op.drop_index(op.f("ix_decision_system_time_ns_id"), table_name="decision")
    op.drop_index(op.f("ix_decision_system_outcome_time_ns_id"), table_name="decision")
    op.drop_index(op.f("ix_decision_outcome_time_ns_id"), table_name="decision")
    op.drop_index(op.f("ix_decision_decision_id"), table_name="decision")
    op.drop_table("decision")
    op.drop_table("sidecar")
    op.drop_table("pointer")
    op.drop_table("evidence")
    op.drop_table("carried")
    op.drop_table("batch")
    op.drop_table("tuf_metadata")
    op.drop_table("system")
    op.drop_table("release")
    op.drop_table("quarantine")
    op.drop_table("issuer")
    op.drop_table("api_token")
