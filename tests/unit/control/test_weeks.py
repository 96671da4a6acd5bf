"""Decisions lie in parts by week on PostgreSQL, and nobody who asks sees that."""

import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy
from alembic import command
from sqlalchemy import text
from sqlmodel import col, select

from app.control.settings import Settings
from app.control.store import Batch, Decision, Seals, Store, System, decision_row, migrations, partitions
from app.control.store.bulk import add_rows
from app.control.store.migrations import _config
from app.control.store.partitions import FIRST, REST, WEEK

NOW = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()) * 1_000_000_000
FAR = NOW + 60 * WEEK


@pytest.fixture
def store(tmp_path, database):
    opened = Store(Settings(directory=tmp_path, database=database).database_url, Seals(bytes(32)))
    migrations.upgrade(opened)
    yield opened
    opened.close()


IN_PARTS = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


#: As every schema has it.
_BATCH = text(
    'INSERT INTO batch (system, sidecar, instance, file, "first", last, sha256, object, other_lines, received_at) '
    "VALUES (:system, :sidecar, :instance, :file, :first, :last, 'x', 'o', 0, :at) RETURNING id"
)


def add(store, *times):
    with store.write() as session:
        if session.get(System, "pay") is None:
            session.add(System(name="pay", identities=[], horizon_seconds=60))
            session.flush()
        first = len(session.exec(select(Batch.id)).all())
        place = {"system": "pay", "sidecar": "one", "instance": "i", "file": "f", "first": first, "last": first + 1}
        batch = session.execute(_BATCH, place | {"at": datetime(2026, 11, 26, tzinfo=UTC)}).scalar_one()
        names = ("id", "batch", "system", "sidecar", "decision_id", "time_ns", "outcome", "reasons", "position")
        rows = [
            (decision_row(batch, position), batch, "pay", "one", f"d{at}", at, "deny", "[]", position)
            for position, at in enumerate(times)
        ]
        add_rows(session, Decision.metadata.tables["decision"], names, rows)


def keep(store, time_ns):
    with store.write() as session:
        return partitions.keep(session, time_ns)


def places(store):
    """Where each row lies, by its time."""
    with store.read() as session:
        rows = session.execute(text("SELECT time_ns, tableoid::regclass::text FROM decision ORDER BY time_ns"))
        return dict(map(tuple, rows))


@IN_PARTS
def test_the_weeks_to_come_are_made_once_and_take_their_rows(store):
    assert keep(store, FAR) == [
        f"made decision_{day}" for day in ("20280117", "20280124", "20280131", "20280207", "20280214")
    ]
    assert keep(store, FAR) == []
    assert keep(store, FAR + WEEK) == ["made decision_20280221"]
    add(store, NOW, FAR, FAR + 2 * WEEK, FAR + 30 * WEEK)
    assert list(places(store).values()) == [FIRST, "decision_20280117", "decision_20280131", REST]


def test_a_week_begins_on_monday_and_ends_where_the_next_begins():
    for at in (0, 1, NOW, FAR, NOW - 3000 * WEEK):
        end = partitions.end_of(at)
        assert 0 < end - at <= WEEK
        moment = datetime.fromtimestamp(end // 1_000_000_000, UTC)
        assert (moment.weekday(), moment.hour, moment.minute, moment.second) == (0, 0, 0, 0)
        assert partitions.end_of(end) == end + WEEK and partitions.end_of(end - 1) == end


@IN_PARTS
def test_rows_that_came_before_their_week_was_made_move_into_it(store):
    add(store, FAR, FAR + 1, FAR + 30 * WEEK)
    assert set(places(store).values()) == {REST}
    keep(store, FAR)
    assert list(places(store).values()) == ["decision_20280117", "decision_20280117", REST]


@IN_PARTS
def test_an_old_week_goes_when_nothing_lies_in_it(store):
    keep(store, FAR)
    add(store, FAR + WEEK, FAR + 2 * WEEK)
    later = FAR + 8 * WEEK
    done = keep(store, later)
    assert [one for one in done if "dropped" in one] == [
        f"dropped decision_{day}, which was empty" for day in ("20280117", "20280207")
    ]
    # The one of 14 February is of the last four weeks; and what comes late, comes nevertheless.
    add(store, FAR + 1)
    assert list(places(store).values()) == [REST, "decision_20280124", "decision_20280131"]


def test_who_asks_sees_one_table(store):
    keep(store, FAR)
    times = [NOW, FAR + 3 * WEEK, FAR, FAR + WEEK, FAR + 50 * WEEK, FAR + 2 * WEEK + 5]
    add(store, *times)
    with store.read() as session:
        newest = select(Decision.time_ns).order_by(col(Decision.time_ns).desc(), col(Decision.id).desc())
        assert list(session.exec(newest.limit(4))) == sorted(times, reverse=True)[:4]
        ids = list(session.exec(select(Decision.id).order_by(col(Decision.id))))
        assert len(set(ids)) == 6
        one = session.get(Decision, ids[2])
        assert one is not None and one.time_ns == FAR
    with store.write() as session:
        session.execute(sqlalchemy.delete(Decision).where(col(Decision.time_ns) >= FAR + 2 * WEEK))
    with store.read() as session:
        assert sorted(session.exec(select(Decision.time_ns))) == [NOW, FAR, FAR + WEEK]


@IN_PARTS
def test_whoever_is_writing_is_waited_for(store):
    """And what is written meanwhile is there afterwards, in its week."""
    add(store, NOW)
    done = []
    with store.write() as session:
        session.execute(text("LOCK TABLE batch IN ROW EXCLUSIVE MODE"))
        rows = session.execute(
            text("INSERT INTO decision (id, batch, system, sidecar, decision_id, time_ns, outcome, reasons, position) "
                 "SELECT id + 1, batch, system, sidecar, 'late', :at, outcome, reasons, 1 FROM decision"), {"at": FAR}
        )  # fmt: skip
        assert rows.rowcount == 1
        keeper = threading.Thread(target=lambda: done.extend(keep(store, FAR)))
        keeper.start()
        keeper.join(0.5)
        assert keeper.is_alive()
    keeper.join()
    assert len(done) == 5
    assert places(store) == {NOW: FIRST, FAR: "decision_20280117"}


@IN_PARTS
def test_what_was_there_is_the_first_part_and_ids_go_on(store):
    writer = store.engine.execution_options(placet_writes=True)
    add(store, NOW, FAR)
    keep(store, FAR)
    for _ in range(2):
        with writer.begin() as connection:
            command.downgrade(_config(connection), "0011")
            assert connection.execute(text("SELECT relkind FROM pg_class WHERE relname = 'decision'")).scalar() == "r"
        add(store, NOW + 5)
        migrations.upgrade(store)
        add(store, NOW + 6)
    with store.read() as session:
        ids = list(session.exec(select(Decision.id)))
    assert len(ids) == len(set(ids)) == 6
    assert set(places(store).values()) == {FIRST}, "what was there lies before the end of its newest week"
    assert keep(store, FAR)[0] == "made decision_20280124"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_has_none(store):
    assert keep(store, FAR) == []
