"""What must be remembered of all batches until the end: in a temporary file, however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from app.control.fsck.batch import Checked

_TABLES = """
CREATE TABLE link (id INTEGER PRIMARY KEY, system, sidecar, instance, file, first, last, first_entry, entries,
                   payload, previous, received, signed);
CREATE TABLE span (batch INTEGER PRIMARY KEY, count, first, last);
CREATE TABLE named (key TEXT PRIMARY KEY, id) WITHOUT ROWID;
CREATE TABLE listed (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE seal (about, key, mac, PRIMARY KEY (about, key)) WITHOUT ROWID;
CREATE TABLE repeat (later, earlier, count, decision, PRIMARY KEY (later, earlier)) WITHOUT ROWID;
CREATE TABLE state (system, digest, id, PRIMARY KEY (system, digest)) WITHOUT ROWID;
"""

_LINK = "INSERT INTO link VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Scratch:
    """A database of our own, which vanishes."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)  # the empty name is that of a temporary file
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_TABLES)
        self._connection.execute("BEGIN")

    def add_spans(self, spans: Iterable[tuple[int, int, int, int]]) -> None:
        """Where the decision rows of batches lie."""
        self._connection.executemany("INSERT INTO span VALUES (?, ?, ?, ?)", spans)

    def span(self, batch: int) -> tuple[int, int, int]:
        """How many decision rows a batch has, and between which ids."""
        found = self._connection.execute("SELECT count, first, last FROM span WHERE batch = ?", (batch,)).fetchone()
        return tuple(found) if found else (0, 0, 0)

    def add_listed(self, keys: Iterable[str]) -> None:
        """Objects that are in the store."""
        self._connection.executemany("INSERT OR IGNORE INTO listed VALUES (?)", ((key,) for key in keys))

    def listed(self, prefix: str) -> Iterator[str]:
        """Those that begin so."""
        query = "SELECT key FROM listed WHERE key >= ? AND key < ? ORDER BY key"
        return (one[0] for one in self._connection.execute(query, (prefix, prefix + "\U0010ffff")))

    def add(self, checked: Checked) -> None:
        """A batch that was checked."""
        says = checked.claims
        link = [checked.row, says.system, says.sidecar, says.instance, says.file, says.first, says.last]
        link += [says.first_entry, says.entries, says.payload, says.previous, checked.received, checked.signed]
        self._connection.execute(_LINK, [_plain(one) for one in link])
        execute = self._connection.executemany
        execute("INSERT OR IGNORE INTO named VALUES (?, ?)", ((key, checked.row) for key in checked.objects))
        self.add_states((says.system, digest, checked.row) for digest in checked.states)

    def add_states(self, states: Iterable[tuple[str, str, int | None]]) -> None:
        """Trust states that there must be: system, digest, and the batch that names it."""
        self._connection.executemany("INSERT OR IGNORE INTO state VALUES (?, ?, ?)", states)

    def chain(self) -> Iterator[Any]:
        """Signed batches, each instance's in the order of their entries."""
        query = "SELECT * FROM link WHERE signed ORDER BY system, sidecar, instance, first_entry, id"
        return self._connection.execute(query)

    def files(self) -> Iterator[Any]:
        """All batches, each file's in the order of their bytes."""
        return self._connection.execute("SELECT * FROM link ORDER BY system, sidecar, instance, file, first, id")

    def orphans(self) -> Iterator[tuple[int, int, int, int]]:
        """Spans of decision rows whose batch was not checked."""
        query = "SELECT * FROM span WHERE batch NOT IN (SELECT id FROM link) ORDER BY batch"
        return (tuple(one) for one in self._connection.execute(query))

    def unused(self) -> Iterator[str]:
        """Objects in the store that no row names."""
        query = "SELECT key FROM listed WHERE key NOT IN (SELECT key FROM named) ORDER BY key"
        return (one[0] for one in self._connection.execute(query))

    def states(self) -> Iterator[tuple[str, str, int | None]]:
        """Trust states that there must be."""
        return (tuple(one) for one in self._connection.execute("SELECT * FROM state ORDER BY system, digest"))

    def add_repeat(self, later: int, earlier: int, decision: str) -> None:
        """A decision of one batch that is in another one, too."""
        again = "ON CONFLICT DO UPDATE SET count = count + 1"
        self._connection.execute(
            f"INSERT INTO repeat VALUES (?, ?, 1, ?) {again}",  # noqa: S608 - a text of ours
            (later, earlier, _plain(decision)),
        )

    def repeats(self) -> Iterator[tuple[int, int, int, str]]:
        """Pairs of batches: the later one, the earlier one, how many decisions both have, and one of them."""
        return (tuple(one) for one in self._connection.execute("SELECT * FROM repeat ORDER BY later, earlier"))

    def add_seals(self, seals: Iterable[tuple[Any, Any, Any]]) -> None:
        """Seals of rows: table, key and HMAC."""
        plain = ((_plain(about), _plain(key), mac) for about, key, mac in seals)
        self._connection.executemany("INSERT OR IGNORE INTO seal VALUES (?, ?, ?)", plain)

    def taken_seal(self, about: str, key: str) -> Any:
        """The HMAC of a row, once; None of a row that has none."""
        query = "DELETE FROM seal WHERE about = ? AND key = ? RETURNING mac"
        found = self._connection.execute(query, (about, key)).fetchone()
        return found["mac"] if found else None

    def seals_left(self) -> Iterator[tuple[str, str]]:
        """Seals that no row took."""
        return (tuple(one) for one in self._connection.execute("SELECT about, key FROM seal ORDER BY about, key"))

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()


def _plain(value: Any) -> Any:
    """Text that can be stored: damaged rows may hold what is no text."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
