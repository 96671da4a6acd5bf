"""A file of the agent's own: SQLite, in the sidecar's private directory, on disk before anybody is answered.

`synchronous=FULL` with a write-ahead log: what was committed survives a crash of the machine, and what was not leaves
no trace.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason

#: Seconds that a file waits for itself; nobody else writes it.
_TIMEOUT = 5.0


class DatabaseFile(ABC):
    """One database. Threads may share it: one transaction at a time."""

    #: The newest version of the tables, and what brings a file of each older one to it; 0 is an empty file.
    version: ClassVar[int]
    missing: ClassVar[Mapping[int, str]]
    #: The code of what cannot be written, and what the file is.
    reason: ClassVar[Reason]
    what: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None

    @abstractmethod
    def damaged(self, why: str) -> PlacetError:
        """What to say of a file that cannot be gone on with."""

    def open(self, before_making: Callable[[], None] = lambda: None) -> None:
        """Open or make the file. Raises `PlacetError` when it is damaged or of no use.

        `before_making`: what must be done while there is nothing in it yet; when that fails, there still is nothing.
        """
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self.path.chmod(0o600)
            database = sqlite3.connect(self.path, timeout=_TIMEOUT, check_same_thread=False, isolation_level=None)
            self._prepare(database, before_making)
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
        """All of it is on disk when this ends, or nothing is. Raises `Denied` when the file cannot be written."""
        with self._lock:
            database = self._database
            if database is None:
                raise Denied(self.reason, f"{self.what} is not open")
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except sqlite3.Error as error:
                raise Denied(self.reason, f"{self.what} cannot be written: {error}") from error
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")

    def _prepare(self, database: sqlite3.Connection, before_making: Callable[[], None]) -> None:
        """Bring the file to the newest version."""
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            before_making()
        if version in self.missing:
            database.executescript(f"BEGIN; {self.missing[version]} PRAGMA user_version={self.version}; COMMIT;")
        elif version != self.version:
            raise self.damaged(f"it is of version {version}, not {self.version}")
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise self.damaged(str(found).splitlines()[0])
