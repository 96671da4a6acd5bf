"""The file of the executions that run: SQLite, in the sidecar's private directory, on disk before a token is given.

Tokens are good across restarts of the agent, so what they rest on is known across them, too.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.core.strict_json import canonical
from app.sidecar.footing import Footing

_VERSION = 1
_SCHEMA = """
CREATE TABLE held (
    execution TEXT NOT NULL,
    name TEXT NOT NULL,
    footing BLOB NOT NULL,
    expires INTEGER NOT NULL,
    reason TEXT,
    PRIMARY KEY (execution, name)
) STRICT, WITHOUT ROWID;
"""
#: Seconds that the file waits for itself; nobody else writes it.
_TIMEOUT = 5.0


@dataclass(frozen=True)
class Held:
    """One footing of an execution, until when a token for it is about, and why the execution was stopped, if it was."""

    execution: str
    name: str
    footing: Footing
    expires: int
    reason: Reason | None = None


class RunningFile:
    """The database. Threads may share it: one transaction at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def open(self) -> bool:
        """Open the file or make it, and say whether it is new. Raises `PlacetError` when it cannot be used."""
        is_new = not self.path.exists()
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            database = sqlite3.connect(self.path, timeout=_TIMEOUT, check_same_thread=False, isolation_level=None)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise self._damaged()
            if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise self._damaged()
        except OSError as error:
            raise PlacetError(f"cannot use {self.path}: {error.strerror}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged() from error
        self._database = database
        return is_new or version == 0

    def close(self) -> None:
        """Nobody uses it any more."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def load(self) -> list[Held]:
        """All that was kept. Raises `PlacetError` when it cannot be read."""
        with self._transaction() as database:
            rows = database.execute("SELECT execution, name, footing, expires, reason FROM held").fetchall()
        try:
            return [
                Held(execution, name, json.loads(footing), expires, Reason(reason) if reason else None)
                for execution, name, footing, expires, reason in rows
            ]
        except ValueError as error:
            raise self._damaged() from error

    def keep(self, held: Iterable[Held]) -> None:
        """Keep these, in place of what is kept of them. Raises `Denied` when that cannot be written."""
        rows = [
            (one.execution, one.name, canonical(one.footing), one.expires, one.reason and str(one.reason))
            for one in held
        ]
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?)", rows)

    def forget(self, held: Iterable[Held]) -> None:
        """Keep these no longer. Raises `Denied` when that cannot be written."""
        with self._transaction() as database:
            names = [(one.execution, one.name) for one in held]
            database.executemany("DELETE FROM held WHERE execution = ? AND name = ?", names)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            database = self._database
            if database is None:
                raise Denied(Reason.AGENT_FAILED, "the file of running executions is not open")
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except sqlite3.Error as error:
                raise Denied(Reason.AGENT_FAILED, f"{self.path} cannot be written: {error}") from error
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")

    def _damaged(self) -> PlacetError:
        return PlacetError(f"{self.path} is damaged; delete it, and executions have to be started anew")
