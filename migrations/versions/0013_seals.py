"""Seals of the rows that nobody signs. `app.control.store.migrations` seals what is there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "seal",
        sa.Column("about", sa.String(63), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("about", "key", name="pk_seal"),
    )
    for table in ("batch", "link"):
        op.add_column(table, sa.Column("seal", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    for table in ("batch", "link"):
        op.drop_column(table, "seal")
    op.drop_table("seal")
