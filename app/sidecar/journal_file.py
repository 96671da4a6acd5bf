"""The file of a journal, one for each instance."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from app.core.errors import PlacetError
from app.core.reason_codes import Reason
from app.sidecar.database_file import DatabaseFile

#: What came with version 2: steps by their callers' own names for them, and the digest of what was asked.
_KEYS = """
CREATE TABLE step_key (
    execution TEXT NOT NULL,
    key TEXT NOT NULL,
    asked TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (execution, key)
) STRICT, WITHOUT ROWID;
"""
_SCHEMA = """
CREATE TABLE statement (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    execution TEXT,
    policy TEXT,
    draft BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    statement BLOB,
    digest TEXT,
    acknowledged INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX statement_waiting ON statement (number) WHERE acknowledged = 0;
CREATE INDEX statement_execution ON statement (execution, number) WHERE execution IS NOT NULL;
CREATE INDEX statement_kind ON statement (kind, policy, number);
CREATE TABLE execution (
    id TEXT PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    workflow TEXT,
    until INTEGER NOT NULL,
    steps INTEGER NOT NULL DEFAULT 0,
    last_kind TEXT,
    last_digest TEXT,
    outcome TEXT,
    ended_at INTEGER
) STRICT;
CREATE INDEX execution_ended ON execution (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX execution_until ON execution (until);
CREATE TABLE leaf (
    decision TEXT PRIMARY KEY,
    execution TEXT NOT NULL,
    hash BLOB NOT NULL,
    cut_at INTEGER NOT NULL
) STRICT;
CREATE INDEX leaf_cut ON leaf (cut_at);
"""


class JournalFile(DatabaseFile):
    """One journal's database: `lineage.unavailable` when it cannot be written."""

    version = 2
    missing: ClassVar[Mapping[int, str]] = {0: _SCHEMA + _KEYS, 1: _KEYS}
    reason = Reason.LINEAGE_UNAVAILABLE
    what = "the journal"

    def __init__(self, path: Path, instance_file: Path) -> None:
        """`instance_file`: what to delete to begin a new journal."""
        super().__init__(path)
        self._instance_file = instance_file

    def damaged(self, why: str) -> PlacetError:
        """What to say of a file that cannot be gone on with."""
        return PlacetError(
            f"{self.path} is damaged ({why}); restore it, or delete {self._instance_file} to go on as a new instance"
        )


def next_number(database: sqlite3.Connection) -> int:
    """The number of the next statement."""
    last = database.execute("SELECT max(number) FROM statement").fetchone()[0]
    return 0 if last is None else int(last) + 1


def waiting_bytes(database: sqlite3.Connection) -> int:
    """The bytes of the drafts of all that was not acknowledged."""
    query = "SELECT coalesce(sum(length(draft)), 0) FROM statement WHERE acknowledged = 0"
    return int(database.execute(query).fetchone()[0])
