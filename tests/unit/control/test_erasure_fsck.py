"""After an erasure nothing is found; an erasure that no row names is, and so is one that was not carried out."""

import secrets
from datetime import timedelta

import pytest
import sqlalchemy
from sqlmodel import select

from app.control import erasing, erasure, raw_records, retention
from app.control.erasure import Wanted
from app.control.plane import Plane
from app.control.raw_records import Span
from app.control.store import Batch
from app.control.store.columns import now
from app.control.tokens import Access, Scope

from .batch_kit import verify_batch_plain
from .conftest import verify_plain, verify_statement_plain
from .test_fsck import made as filled

#: What a parser gives up on.
DEEP = "[" * 3000 + "]" * 3000

BY = Access("t", "Ann", frozenset({Scope.ADMIN}), None)


@pytest.fixture(scope="module", autouse=True)
def at_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(erasing, "GRACE", timedelta(0))
        yield


def opened(stand):
    return Plane.open(stand.settings, verify_plain, verify_statement_plain, verify_batch=verify_batch_plain)


def erase(stand, *decisions):
    plane = opened(stand)
    with plane.store.write() as session:
        erasure.order(session, BY, Wanted(decisions=decisions), "request 17")
    while erasing.step(plane):
        pass
    plane.close()


def keep(stand, days, columns, *, age, monkeypatch):
    """Retention as it will be in `age` days."""
    monkeypatch.setattr(retention, "now", lambda: now() + timedelta(days=age))
    plane = opened(stand)
    with plane.store.write() as session:
        retention.put(session, BY, "payments", days, columns)
    while retention.step(plane) + erasing.step(plane):
        pass
    plane.close()


@pytest.fixture(scope="module")
def erased(tmp_path_factory):
    """d1 and d3 of the first batch, d15 of another, and d21 that came unsigned."""
    stand = filled(tmp_path_factory.mktemp("erased"))
    erase(stand, "d1", "d15", "d21")
    erase(stand, "d3")
    return stand


def test_what_was_erased_by_an_order_is_no_finding(erased):
    report, found, unused = erased.check()
    assert found == []
    assert unused == []
    assert (report.batches, report.entries) == (7, 20)


def test_with_postgresql_too(tmp_path, postgresql):
    server = sqlalchemy.make_url(postgresql)
    name = f"t{secrets.token_hex(6)}"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    stand = filled(tmp_path, server.set(database=name).render_as_string(hide_password=False))
    erase(stand, "d1", "d15", "d21")
    assert stand.check()[1:] == ([], [])


def columns(found):
    return {(one.kind, one.table, one.column) for one in found}


def test_an_erasure_that_no_row_names_is_found(erased):
    with erased.changed():
        plane = opened(erased)
        with plane.store.write() as session:
            batch = session.exec(select(Batch).order_by(Batch.id)).first()
            span = Span(batch.system, batch.sidecar, batch.instance, batch.file, batch.first, batch.last)
            made = raw_records.without(plane.objects, span, batch, batch.salts, [2])
            batch.object, batch.salts = made.object, made.salts
            session.add(batch)
        plane.close()
        found = erased.found()
    assert ("changed", "batch", "object") in columns(found)
    assert "entry 2 of the batch is erased, and no erasure says so" in {one.detail for one in found}


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE decision SET subject_id = 'ann' WHERE decision_id = 'd1'", ("changed", "decision", "subject_id")),
        ("UPDATE decision SET reasons = '[\"x\"]' WHERE decision_id = 'd1'", ("changed", "decision", "reasons")),
        (f"UPDATE decision SET reasons = '{DEEP}' WHERE decision_id = 'd1'", ("changed", "decision", "reasons")),
        ("UPDATE decision SET reasons = '5' WHERE decision_id = 'd1'", ("changed", "decision", "reasons")),
        ("UPDATE decision SET action = 7 WHERE decision_id = 'd1'", ("changed", "decision", "action")),
        ("UPDATE decision SET policy = x'01' WHERE decision_id = 'd1'", ("missing", "batch_value", None)),
        ("UPDATE decision SET execution = 'e' WHERE decision_id = 'd15'", ("changed", "decision", "execution")),
        ("UPDATE decision SET erased = 1 WHERE decision_id = 'd2'", ("changed", "decision", "erased")),
        ("UPDATE decision SET outcome = 'deny' WHERE decision_id = 'd1'", ("changed", "batch", "allows")),
        ("DELETE FROM decision WHERE decision_id = 'd1'", ("missing", "batch", None)),
        ("UPDATE batch SET sha256 = 'ab' WHERE id = 1", ("changed", "batch", "sha256")),
        ("DELETE FROM erased_batch WHERE batch = 1", ("changed", "batch", "object")),
        ("UPDATE erased_batch SET numbers = '[0, 1, 2]' WHERE id = 1", ("changed", "batch", "object")),
        ("UPDATE erased_batch SET numbers = '[]' WHERE id = 1", ("changed", "batch", "object")),
        ("UPDATE erased_batch SET numbers = 'x' WHERE id = 1", ("changed", "erased_batch", "numbers")),
        ("UPDATE erased_batch SET decisions = NULL WHERE id = 1", ("changed", "batch", "object")),
        ("UPDATE erased_batch SET erased_at = NULL WHERE batch = 7", ("changed", "batch", "object")),
    ],
)
def test_what_is_changed_of_an_erasure_is_found(erased, statement, place, monkeypatch):
    monkeypatch.setattr(type(erased), "tables", ("batch", "decision", "erased_batch"))
    statement = statement.replace("batch = 7", "batch = (SELECT batch FROM decision WHERE decision_id = 'd21')")
    with erased.changed((statement,)):
        assert place in columns(erased.found())
    assert erased.found() == []


def test_a_salt_that_stayed_is_found(tmp_path):
    stand = filled(tmp_path)
    before = {key: (stand.objects / key).read_bytes() for key in stand.stored("salts")}
    erase(stand, "d1")
    [gone] = set(before) - set(stand.stored("salts"))
    (stand.objects / gone).write_bytes(before[gone])
    with stand.changed((f"UPDATE batch SET salts = '{gone}' WHERE id = 1",)):
        assert ("changed", "batch", "salts") in columns(stand.found())


def test_whole_batches_and_their_rows_may_be_gone(tmp_path, monkeypatch):
    stand = filled(tmp_path)
    stand.tables = (*stand.tables, "erased_batch")
    keep(stand, 30, 60, age=40, monkeypatch=monkeypatch)
    report, found, unused = stand.check()
    assert (found, unused, report.batches) == ([], [], 7)
    with stand.changed(("DELETE FROM erased_batch",)):
        assert columns(stand.found()) == {("changed", "batch", "object"), ("missing", "erased_batch", None)}
    keep(stand, 30, 60, age=70, monkeypatch=monkeypatch)
    assert stand.check()[1:] == ([], [])
    with stand.database() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM decision").scalar_one() == 0
    insert = (
        "INSERT INTO decision (batch, system, sidecar, decision_id, time_ns, outcome, reasons, position) "
        "VALUES (1, 'payments', 'one', 'd1', 1, 'allow', '[]', 0)"
    )
    with stand.database() as connection:
        connection.exec_driver_sql(insert)
    assert ("surplus", "decision", None) in columns(stand.found())


def test_half_way_nothing_is_found_either(tmp_path, monkeypatch):
    stand = filled(tmp_path)
    plane = opened(stand)
    with plane.store.write() as session:
        erasure.order(session, BY, Wanted(decisions=["d1", "d15"]), "request 17")
    assert stand.found() == []
    monkeypatch.setattr(erasing, "_remove", lambda plane, identifier: None)
    erasing.step(plane)
    _, found, unused = stand.check()
    assert found == []
    assert len(unused) == 4, "what is left over is no finding, and is named"
    monkeypatch.undo()
    erasing.step(plane)
    assert stand.check()[1:] == ([], [])
    plane.close()


def test_what_somebody_writes_into_the_database_erases_nothing(tmp_path, caplog):
    """An order that was added, one that was changed, a rule, and a time of receipt that make records old enough."""
    stand = filled(tmp_path)
    before = {key: (stand.objects / key).read_bytes() for key in stand.stored()}
    with stand.database() as connection:
        for change in (
            "INSERT INTO erasure (id, kind, reason, decisions, asked_at, asked_by, copies) "
            "VALUES (7, 'subject', 'mine', 1, '2026-01-31 12:00:00.000000', 'eve', '[]')",
            "INSERT INTO erased_batch (erasure, batch, leftover) VALUES (7, 1, '[]')",
            "INSERT INTO retention (system, records_days, set_at, set_by) "
            "VALUES ('payments', 1, '2020-01-31 12:00:00.000000', 'eve')",
            "UPDATE batch SET received_at = '2026-02-01 12:00:00.000000' WHERE id = 3",
        ):
            connection.exec_driver_sql(change)
    plane = opened(stand)
    for _ in range(3):
        assert retention.step(plane) + erasing.step(plane) == 0
    assert "the order is not as the control plane wrote it" in caplog.text
    assert "is not as it was set" in caplog.text
    assert {key: (stand.objects / key).read_bytes() for key in stand.stored()} == before
    places = {(one.kind, one.table) for one in stand.found()}
    assert places == {
        ("surplus", "erasure"),
        ("surplus", "erased_batch"),
        ("surplus", "retention"),
        ("changed", "batch"),
    }
    plane.close()
