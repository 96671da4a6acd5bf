"""Decisions lie in parts by time, on PostgreSQL; on SQLite in one table, as before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.control.store import partitions
from app.control.store.columns import now

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ALLOWED = "outcome <> 'allow'"
#: The indexes by their columns: how they are made, and of which rows.
_INDEXES = {
    "time_ns_id": ("(time_ns, id)", ""),
    "system_time_ns_id": ("(system, time_ns, id)", ""),
    "outcome_time_ns_id": ("(outcome, time_ns, id)", _ALLOWED),
    "system_outcome_time_ns_id": ("(system, outcome, time_ns, id)", _ALLOWED),
    "decision_id": ("USING hash (decision_id)", ""),
    "mode_time_ns_id": ("(mode, time_ns, id)", "mode IS NOT NULL"),
    "batch": ("(batch)", ""),
    "subject_id_time_ns_id": ("(subject_id, time_ns, id)", ""),
    "resource_id_time_ns_id": ("(resource_id, time_ns, id)", ""),
    "execution_time_ns_id": ("(execution, time_ns, id)", "execution IS NOT NULL"),
}


def upgrade() -> None:
    """What is there becomes the first part, where it lies. Making its new primary key takes as long as one index."""
    if op.get_bind().dialect.name != "postgresql":
        return
    first = partitions.FIRST
    op.execute("SET LOCAL statement_timeout = 0")
    op.execute(f"ALTER TABLE decision RENAME TO {first}")
    for name in _INDEXES:
        op.execute(f"ALTER INDEX ix_decision_{name} RENAME TO ix_{first}_{name}")
    # PostgreSQL keeps a key unique only within a part, unless it holds what tells the parts.
    op.execute(f"ALTER TABLE {first} DROP CONSTRAINT pk_decision")
    op.execute(f"ALTER TABLE {first} ADD CONSTRAINT pk_{first} PRIMARY KEY (id, time_ns)")
    op.execute(f"CREATE TABLE decision (LIKE {first} INCLUDING DEFAULTS) PARTITION BY RANGE (time_ns)")
    op.execute("ALTER TABLE decision ADD CONSTRAINT pk_decision PRIMARY KEY (id, time_ns)")
    op.execute("ALTER TABLE decision ADD CONSTRAINT fk_decision_batch FOREIGN KEY (batch) REFERENCES batch (id)")
    for name, (how, where) in _INDEXES.items():
        op.execute(f"CREATE INDEX ix_decision_{name} ON decision {how}{where and f' WHERE {where}'}")
    op.execute("ALTER SEQUENCE decision_id_seq OWNED BY decision.id")
    newest = op.get_bind().execute(sa.text(f"SELECT max(time_ns) FROM {first}")).scalar() or 0  # noqa: S608
    end = partitions.end_of(max(newest, int(now().timestamp() * 1e9)))
    op.execute(f"ALTER TABLE decision ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ({end})")
    op.execute(f"CREATE TABLE {partitions.REST} PARTITION OF decision DEFAULT")


def downgrade() -> None:
    """One table again, by copying every row."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("SET LOCAL statement_timeout = 0")
    op.execute("CREATE TABLE decision_whole (LIKE decision INCLUDING DEFAULTS)")
    op.execute("INSERT INTO decision_whole SELECT * FROM decision")
    op.execute("ALTER SEQUENCE decision_id_seq OWNED BY decision_whole.id")
    op.execute("DROP TABLE decision")
    op.execute("ALTER TABLE decision_whole RENAME TO decision")
    op.execute("ALTER TABLE decision ADD CONSTRAINT pk_decision PRIMARY KEY (id)")
    op.execute("ALTER TABLE decision ADD CONSTRAINT fk_decision_batch FOREIGN KEY (batch) REFERENCES batch (id)")
    for name, (how, where) in _INDEXES.items():
        op.execute(f"CREATE INDEX ix_decision_{name} ON decision {how}{where and f' WHERE {where}'}")
