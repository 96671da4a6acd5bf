"""The latest decision of a sidecar: what is later was never sent before."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_NAME = "ix_batch_system_sidecar_newest_ns"


def upgrade() -> None:
    op.create_index(_NAME, "batch", ["system", "sidecar", "newest_ns"])


def downgrade() -> None:
    op.drop_index(_NAME, "batch")
