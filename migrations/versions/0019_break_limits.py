"""Breaks of lineage that stop their sidecar after a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lineage_break", sa.Column("stops_at", sa.DateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("lineage_break", "stops_at")
