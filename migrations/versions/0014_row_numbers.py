"""A decision's row is numbered by its batch and its place there, not by a sequence."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from app.core.errors import PlacetError

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: `app.control.store.decision.POSITIONS`, as it was then.
_POSITIONS = 1 << 24
_NUMBER = f"batch * {_POSITIONS} + position"


def upgrade() -> None:
    """Every decision row is written anew, with its entries in the indexes: so long does it take."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.execute("SET LOCAL statement_timeout = 0")
    twice = "SELECT batch, position FROM decision GROUP BY batch, position HAVING COUNT(*) > 1 LIMIT 1"
    if (found := connection.execute(sa.text(twice)).first()) is not None:
        raise PlacetError(
            f"two rows are of the decision at {found[1]} of batch {found[0]}: somebody added one; the version before "
            "this one names it (placet server fsck). Delete it, then migrate"
        )
    _name_rows_anew(connection)
    # An old number may be another row's new one: by way of numbers that nobody has.
    op.execute(f"UPDATE decision SET id = -({_NUMBER}) WHERE id >= {_POSITIONS}")  # noqa: S608 - a constant
    op.execute(f"UPDATE decision SET id = {_NUMBER}")  # noqa: S608 - a constant
    if connection.dialect.name == "postgresql":
        op.execute("ALTER TABLE decision ALTER COLUMN id DROP DEFAULT")
        op.execute("DROP SEQUENCE decision_id_seq")


def downgrade() -> None:
    """The numbers stay: they are as good as others."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        last = connection.execute(sa.text("SELECT coalesce(max(id), 0) FROM decision")).scalar()
        op.execute(f"CREATE SEQUENCE decision_id_seq START WITH {last + 1} OWNED BY decision.id")
        op.execute("ALTER TABLE decision ALTER COLUMN id SET DEFAULT nextval('decision_id_seq')")


def _name_rows_anew(connection: sa.Connection) -> None:
    """What erasures say of rows that are there. Numbers of rows that retention deleted would be those of others."""
    orders = connection.execute(sa.text("SELECT id, batch, CAST(decisions AS TEXT) FROM erased_batch")).fetchall()
    rows = sa.text(f"SELECT id, {_NUMBER} FROM decision WHERE batch = :batch")  # noqa: S608 - a constant
    change = sa.text("UPDATE erased_batch SET decisions = :decisions WHERE id = :id").bindparams(
        sa.bindparam("decisions", type_=sa.JSON())
    )
    for identifier, batch, text in orders:
        before = json.loads(text) if text is not None else None
        if before is None:
            continue
        numbers = dict(map(tuple, connection.execute(rows, {"batch": batch})))
        after = sorted(numbers[one] for one in before if one in numbers)
        connection.execute(change, {"decisions": after, "id": identifier})
