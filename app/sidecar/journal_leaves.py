"""Which leaf hashes a journal still needs: those that an execution which runs, or a draft, may name.

A decision whose leaf is gone must never be taken for one that was never recorded: that would be a false statement.
So it is noted of which executions leaves were forgotten.
"""

from __future__ import annotations

import sqlite3

#: Leaf hashes kept, and for how many seconds once no execution that runs may name them.
MAX_LEAVES, LEAVES_KEPT = 200_000, 3_600
#: How a note begins that leaves of an execution were forgotten: no decision's id has a space.
_NOTE = "forgotten "

_OLD = (
    "DELETE FROM leaf WHERE cut_at < :over "
    "AND NOT EXISTS (SELECT 1 FROM execution WHERE id = leaf.execution AND outcome IS NULL AND until > :now) "
    "AND NOT EXISTS (SELECT 1 FROM statement WHERE statement.execution = leaf.execution AND statement IS NULL)"
)
_NOTED = (
    "INSERT OR IGNORE INTO leaf SELECT DISTINCT :note || execution, execution, x'', :now FROM leaf "
    "WHERE rowid <= :last AND decision <> :note || execution "
    "AND EXISTS (SELECT 1 FROM execution WHERE id = leaf.execution AND outcome IS NULL AND until > :now)"
)
_BEYOND = (
    "DELETE FROM leaf WHERE rowid <= :last AND decision <> :note || execution "
    "AND NOT EXISTS (SELECT 1 FROM statement WHERE statement.execution = leaf.execution AND statement IS NULL)"
)


def prune(database: sqlite3.Connection, now: int) -> None:
    """Forget what nobody may name any more, and the oldest of too many."""
    database.execute(_OLD, {"over": now - LEAVES_KEPT, "now": now})
    if database.execute("SELECT count(*) FROM leaf").fetchone()[0] <= MAX_LEAVES:
        return
    last = database.execute("SELECT max(rowid) FROM leaf").fetchone()[0] - MAX_LEAVES
    database.execute(_NOTED, {"last": last, "note": _NOTE, "now": now})
    database.execute(_BEYOND, {"last": last, "note": _NOTE})


def starts_again(database: sqlite3.Connection, execution: str, now: int) -> None:
    """Note of an execution whose time was over that leaves may have been forgotten meanwhile."""
    database.execute(
        "INSERT OR IGNORE INTO leaf SELECT :note || id, id, x'', :now FROM execution WHERE id = :id AND until <= :now",
        {"note": _NOTE, "id": execution, "now": now},
    )


def forgot(database: sqlite3.Connection, execution: str) -> bool:
    """Whether leaves of an execution were forgotten while it ran."""
    return database.execute("SELECT 1 FROM leaf WHERE decision = ?", (_NOTE + execution,)).fetchone() is not None
