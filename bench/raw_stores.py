"""The rivals of storing evidence: the same bytes into one column, without checks; and how batches are sent to each."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signed:
    """A batch as it is sent."""

    sidecar: str
    entries: Sequence[bytes]
    body: bytes


def count(batches: Sequence[Signed]) -> int:
    """How many records are in them."""
    return sum(len(batch.entries) for batch in batches)


def together(work: Callable[[Sequence[Signed]], None], batches: Sequence[Signed]) -> float:
    """Records a second, where each sidecar's batches are sent by a thread of their own."""
    names = sorted({batch.sidecar for batch in batches})
    of_each = [[batch for batch in batches if batch.sidecar == name] for name in names]
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(of_each)) as pool:
        list(pool.map(work, of_each))
    return count(batches) / (time.perf_counter() - begun)


def copied(url: str, batches: Sequence[Signed]) -> float:
    """Records a second that PostgreSQL takes by COPY into one column of bytes, one transaction a batch."""
    import psycopg

    address = url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE TABLE raw (line bytea NOT NULL)")

    def all_of(some: Sequence[Signed]) -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            for batch in some:
                with (
                    connection.transaction(),
                    connection.cursor() as cursor,
                    cursor.copy("COPY raw (line) FROM STDIN (FORMAT BINARY)") as copy,
                ):
                    copy.set_types(["bytea"])
                    for entry in batch.entries:
                        copy.write_row((entry,))

    return together(all_of, batches)


def inserted(path: Path, batches: Sequence[Signed]) -> float:
    """Records a second that SQLite takes into one column, one transaction a batch."""
    lines = [[(entry,) for entry in batch.entries] for batch in batches]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE raw (line BLOB NOT NULL)")
        begun = time.perf_counter()
        for entries in lines:
            with connection:
                connection.executemany("INSERT INTO raw VALUES (?)", entries)
        return count(batches) / (time.perf_counter() - begun)
