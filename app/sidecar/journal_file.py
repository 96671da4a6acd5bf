"""The file of a journal: SQLite, in the sidecar's private directory, on disk before anybody is answered.

One file for each instance. `synchronous=FULL` with a write-ahead log: what was committed survives a crash of the
machine, and what was not leaves no trace.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason

_VERSION = 2
#: Seconds that the journal waits for itself; nobody else writes it.
_TIMEOUT = 5.0

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
#: What brings a file of each version to this one.
_MISSING = {0: _SCHEMA + _KEYS, 1: _KEYS}


class JournalFile:
    """One journal's database. Threads may share it: one transaction at a time."""

    def __init__(self, path: Path, instance_file: Path) -> None:
        """`instance_file`: what to delete to begin a new journal."""
        self.path = path
        self._instance_file = instance_file
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or make the file. Raises `PlacetError` when it is damaged or cannot be used."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self.path.chmod(0o600)
            database = sqlite3.connect(self.path, timeout=_TIMEOUT, check_same_thread=False, isolation_level=None)
            self._prepare(database)
        except OSError as error:
            raise PlacetError(f"cannot use {self.path}: {error.strerror}") from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(str(error)) from error
        self._database = database

    def close(self) -> None:
        """Nobody uses it any more."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it is on disk when this ends, or nothing is.

        Raises `Denied` with `lineage.unavailable` when the file cannot be written.
        """
        with self._lock:
            database = self._database
            if database is None:
                raise Denied(Reason.LINEAGE_UNAVAILABLE, "the journal is not open")
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except sqlite3.Error as error:
                raise Denied(Reason.LINEAGE_UNAVAILABLE, f"the journal cannot be written: {error}") from error
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")

    def damaged(self, why: str) -> PlacetError:
        """What to say of a file that cannot be gone on with."""
        return PlacetError(
            f"{self.path} is damaged ({why}); restore it, or delete {self._instance_file} to go on as a new instance"
        )

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version in _MISSING:
            database.executescript(f"BEGIN; {_MISSING[version]} PRAGMA user_version={_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise self.damaged(f"it is of version {version}, not {_VERSION}")
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self.damaged(str(found).splitlines()[0])


def next_number(database: sqlite3.Connection) -> int:
    """The number of the next statement."""
    last = database.execute("SELECT max(number) FROM statement").fetchone()[0]
    return 0 if last is None else int(last) + 1


def waiting_bytes(database: sqlite3.Connection) -> int:
    """The bytes of the drafts of all that was not acknowledged."""
    query = "SELECT coalesce(sum(length(draft)), 0) FROM statement WHERE acknowledged = 0"
    return int(database.execute(query).fetchone()[0])
