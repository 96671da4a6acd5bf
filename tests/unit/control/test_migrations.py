"""A database of an earlier schema is brought to this one with what it holds."""

import pytest
import sqlalchemy
from alembic import command
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from app.control import batch_values
from app.control.settings import Settings
from app.control.store import (
    Batch,
    BatchValue,
    Decision,
    ErasedBatch,
    Issuer,
    LineageBreak,
    Link,
    Quarantine,
    Seals,
    Sidecar,
    Store,
    System,
    batch_words,
    decision_row,
    migrations,
)
from app.control.store.columns import packed_digest, unpacked_digest
from app.control.store.decision import POSITIONS
from app.control.store.migrations import _config
from app.control.value_counts import MAX_PLACES
from app.core.errors import PlacetError

ROWS = """
INSERT INTO system VALUES ('old', '[]', '[]', 60, '2026-01-31 12:00:00');
INSERT INTO issuer VALUES (1, 'https://i', '["a"]', '{}', '2026-01-31 12:00:00');
INSERT INTO quarantine VALUES (1, 'https://i', 's', 'r', '2026-01-31 12:00:00', 'x', NULL, NULL);
INSERT INTO sidecar VALUES ('old', 'one', 'i', 'prod', '2026-01-31 12:00:00', '2026-01-31 12:00:00', TRUE, '[]',
  NULL, NULL, NULL, NULL, 10, 0, 0);
INSERT INTO batch VALUES (1, 'old', 'one', 'i', 'f', 0, 1, 'x', 'o', 0, '2026-01-31 12:00:00');
INSERT INTO decision VALUES (1, 1, 'old', 'one', 'd', 1, 'deny', '[]',
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', 0, 1)
"""

POLICY = "sha256:" + "ab" * 32

#: A batch of plain lines, as it was stored before there were frames.
PLAIN = f"""
INSERT INTO system (name, identities, required_predicates, horizon_seconds, created_at, shadow, break_glass)
  VALUES ('old', '[]', '[]', 60, '2026-01-31 12:00:00', '[]', '[]');
INSERT INTO batch (id, system, sidecar, instance, file, "first", last, sha256, object, other_lines, received_at)
  VALUES (1, 'old', 'one', 'i', 'f', 0, 20, 'x', 'records/old/one/i/f/0-x.jsonl', 0, '2026-01-31 12:00:00');
INSERT INTO decision (id, batch, system, sidecar, decision_id, time_ns, outcome, reasons, policy, library, text,
    "offset", length)
  VALUES (1, 1, 'old', 'one', 'd1', 1, 'deny', '[]', '{POLICY}', 'odd', 'words of it', 0, 9),
    (2, 1, 'old', 'one', 'd2', 2, 'allow', '[]', '{POLICY}', NULL, '', 10, 9)
"""


def held(tmp_path, database, schema, rows):
    """A database of an earlier schema, with these rows."""
    store = Store(Settings(directory=tmp_path, database=database).database_url, Seals(bytes(32)))
    with store.engine.execution_options(placet_writes=True).begin() as connection:
        command.upgrade(_config(connection), schema)
    with store.write() as session:
        for row in rows.split(";"):
            session.execute(sqlalchemy.text(row))
    return store


def test_what_the_first_schema_held_is_read_by_this_one(tmp_path, database):
    store = held(tmp_path, database, "0001", ROWS)
    migrations.upgrade(store)
    with store.read() as session:
        (issuer,), (entry,) = session.exec(select(Issuer)).all(), session.exec(select(Quarantine)).all()
        (system,), (sidecar,) = session.exec(select(System)).all(), session.exec(select(Sidecar)).all()
        (decision,), (batch,) = session.exec(select(Decision)).all(), session.exec(select(Batch)).all()
    assert (issuer.kind, issuer.domain, issuer.names, issuer.x509_roots) == ("oidc", "", "", [])
    assert entry.kind == "subject"
    assert (system.shadow, system.break_glass, sidecar.modes) == ([], [], [])
    assert (decision.mode, decision.execution) == (None, None)
    assert (batch.last, batch.first_entry, batch.root, batch.evidence, batch.signed_at) == (1, None, None, None, None)
    migrations.undo(store)
    assert set(sqlalchemy.inspect(store.engine).get_table_names()) <= {"alembic_version"}
    store.close()


def test_decisions_of_before_keep_their_places_and_digests(tmp_path, database):
    """What was the byte is the position, which is read so as long as the batch is plain lines."""
    store = held(tmp_path, database, "0006", PLAIN)
    writer = store.engine.execution_options(placet_writes=True)
    for _ in range(2):
        migrations.upgrade(store)
        with store.read() as session:
            rows = session.exec(select(Decision).order_by(Decision.id)).all()
            named = session.exec(select(Decision.decision_id).where(Decision.policy == POLICY)).all()
            (found,) = session.exec(select(Batch)).all()
            words = session.execute(select(batch_words)).scalar_one()
        assert [(row.position, row.policy, row.library) for row in rows] == [(0, POLICY, "odd"), (10, POLICY, None)]
        assert [row.id for row in rows] == [decision_row(1, 0), decision_row(1, 10)]
        assert (sorted(named), words) == (["d1", "d2"], None)
        assert (found.oldest_ns, found.newest_ns, found.allows, found.denials, found.unreadable) == (1, 2, 1, 1, 0)
        with writer.begin() as connection:
            command.downgrade(_config(connection), "0006")
            down = connection.exec_driver_sql(
                'SELECT "offset", policy, library, length, text FROM decision ORDER BY id'
            )
            assert [tuple(row) for row in down] == [(0, POLICY, "odd", 0, ""), (10, POLICY, None, 0, "")]
    migrations.undo(store)
    store.close()


#: A system with two batches, as schemas from 0013 on hold them.
BATCHES = """
INSERT INTO system (name, identities, required_predicates, horizon_seconds, created_at, shadow, break_glass,
    lineage_limits, release_rules)
  VALUES ('old', '[]', '[]', 60, '2026-01-31 12:00:00.000000', '[]', '[]', '{}', '{}');
INSERT INTO batch (id, system, sidecar, instance, file, "first", last, sha256, object, other_lines, received_at)
  VALUES (1, 'old', 'one', 'i', 'f', 0, 20, 'x', 'o', 0, '2026-01-31 12:00:00.000000'),
    (2, 'old', 'one', 'i', 'f', 20, 40, 'x', 'o', 0, '2026-01-31 12:00:00.000000');"""

#: Rows as a sequence numbered them, one of them above all places; and an erasure that names some, and one that is gone.
NUMBERED = f"""{BATCHES}
INSERT INTO decision (id, batch, system, sidecar, decision_id, time_ns, outcome, reasons, position)
  VALUES (7, 1, 'old', 'one', 'd1', 1, 'deny', '[]', 0), (9, 1, 'old', 'one', 'd2', 2, 'deny', '[]', 3),
    ({POSITIONS + 3}, 2, 'old', 'one', 'd3', 3, 'deny', '[]', 1);
INSERT INTO link (id, system, sidecar, instance, number, payload, kind, at, signed_at, log_index, object,
    evidence_sha256, received_at)
  VALUES (5, 'old', 'one', 'i', 0, 'sha256:x', 'k', '2026-01-31 12:00:00.000000', '2026-01-31 12:00:00.000000', 1, 'o',
    'x', '2026-01-31 12:00:00.000000');
INSERT INTO erasure (id, kind, reason, decisions, asked_at, asked_by, copies)
  VALUES (1, 'subject', 'asked', 3, '2026-01-31 12:00:00.000000', 'ann', '[]');
INSERT INTO erased_batch (id, erasure, batch, decisions, leftover)
  VALUES (1, 1, 1, '[4, 7, 9]', '[]'), (2, 1, 2, NULL, '[]')
"""


#: Decisions with values of all kinds.
VALUED = f"""{BATCHES}
INSERT INTO decision (id, batch, system, sidecar, decision_id, time_ns, outcome, reasons, position, action,
    resource_type, subject_issuer)
  VALUES ({decision_row(1, 3)}, 1, 'old', 'one', 'd2', 2, 'deny', '["a", "b"]', 3, 'read', 'invoice', 'https://i'),
    ({decision_row(1, 0)}, 1, 'old', 'one', 'd1', 1, 'allow', '[]', 0, 'read', 'order', 'https://i'),
    ({decision_row(2, 70000)}, 2, 'old', 'one', 'd3', 3, 'deny', '["b"]', 70000, 'ärger', NULL, NULL),
    ({decision_row(2, 1)}, 2, 'old', 'one', 'd4', 3, 'unreadable', '[]', 1, NULL, NULL, NULL)
"""


def test_values_of_batches_are_counted(tmp_path, database):
    """As they are counted of batches that come now."""
    store = held(tmp_path, database, "0014", VALUED)
    with store.write() as session:
        for number, policy in ((decision_row(1, 0), POLICY), (decision_row(2, 1), "odd")):
            change = sqlalchemy.text("UPDATE decision SET policy = :policy WHERE id = :id")
            session.execute(change, {"policy": packed_digest(policy), "id": number})
        many = Decision.__table__.insert()
        session.execute(many, [
            {"id": decision_row(2, 2 + at), "batch": 2, "system": "old", "sidecar": "one", "decision_id": f"m{at}",
             "time_ns": 4, "outcome": "allow", "reasons": [], "position": 2 + at, "action": "many"}
            for at in range(MAX_PLACES + 1)
        ])  # fmt: skip
    migrations.upgrade(store)
    with store.write() as session:
        query = select(BatchValue).order_by(BatchValue.batch, BatchValue.value)
        found = [one.model_dump() for one in session.exec(query)]
        for batch in (1, 2):
            batch_values.renew(session, batch)
        session.expire_all()
        assert found == [one.model_dump() for one in session.exec(query)]
    by_value = {(one["value"], one["batch"]): (one["places"], one["allows"], one["denials"]) for one in found}
    assert by_value["action=read", 1] == (b"\0\0\3\0", 1, 1)
    assert by_value["reason=b", 2] == ((70000).to_bytes(4, "little"), 0, 1)
    assert by_value["action=many", 2] == (None, MAX_PLACES + 1, 0)
    assert (f"policy={POLICY}", 1) in by_value and ("policy=odd", 2) in by_value and ("action=ärger", 2) in by_value
    assert len(by_value) == 11
    migrations.undo(store)
    store.close()


@pytest.mark.parametrize(
    "change", ["reasons = '5'", "reasons = '[[[1]]]'", "outcome = 'odd'", f"action = '{'x' * 513}'"]
)
def test_a_row_that_somebody_changed_is_named_and_nothing_is_migrated(tmp_path, database, change):
    store = held(tmp_path, database, "0014", VALUED)
    with store.write() as session:
        session.execute(sqlalchemy.text(f"UPDATE decision SET {change} WHERE decision_id = 'd1'"))
    with pytest.raises(PlacetError, match="the decision at 0 of batch 1 is none"):
        migrations.upgrade(store)
    assert "batch_value" not in sqlalchemy.inspect(store.engine).get_table_names()
    store.close()


def test_rows_are_numbered_by_their_places(tmp_path, database):
    """A row's new number may be another one's old number."""
    store = held(tmp_path, database, "0013", NUMBERED)
    migrations.upgrade(store)
    due = {"d1": decision_row(1, 0), "d2": decision_row(1, 3), "d3": decision_row(2, 1)}
    assert due["d2"] == POSITIONS + 3
    with store.read() as session:
        assert {one.decision_id: one.id for one in session.exec(select(Decision))} == due
        for row in (*session.exec(select(Batch)), *session.exec(select(Link))):
            assert store.seals.hold(str(row.__tablename__), row.model_dump())
        orders = session.exec(select(ErasedBatch).order_by(ErasedBatch.id)).all()
        assert [one.decisions for one in orders] == [[due["d1"], due["d2"]], None]
    with pytest.raises(IntegrityError), store.write() as session:
        session.execute(sqlalchemy.text(f"UPDATE decision SET id = {due['d3']}, time_ns = 3 WHERE decision_id = 'd1'"))
    migrations.undo(store)
    store.close()


def test_a_digest_is_kept_in_33_bytes_and_any_other_text_as_it_is():
    for text in (POLICY, "", "sha256:", POLICY.upper(), POLICY + "0", "\x01" + "a" * 32, "ü", "x" * 512):
        assert unpacked_digest(packed_digest(text)) == text
    assert len(packed_digest(POLICY)) == 33
    assert packed_digest(None) is None
    assert "sha256" not in unpacked_digest(b"\xff\xff")


def batch(file, **signed):
    where = {"system": "old", "sidecar": "one", "instance": "i", "file": file}
    return Batch(**where, first=0, last=1, sha256="x", object="o", other_lines=0, **signed)


def test_signed_batches_go_down_and_up_again_without_what_was_signed(tmp_path, database):
    store = Store(Settings(directory=tmp_path, database=database).database_url, Seals(bytes(32)))
    migrations.upgrade(store)
    with store.write() as session:
        session.add(System(name="old", identities=[], horizon_seconds=60))
        session.flush()
        session.add(batch("a", first_entry=0, entries=1, root="0" * 64))
        session.add_all([batch("b"), batch("c")])  # unsigned ones have no sequence
        row = LineageBreak(system="old", sidecar="one", kind="batch.gap", detail="d", stops=True, body_sha256="0" * 64)
        session.add(row)
    with pytest.raises(IntegrityError), store.write() as session:
        session.add(batch("d", first_entry=0, entries=1, root="0" * 64))  # whatever its file: one sequence, one batch
    writer = store.engine.execution_options(placet_writes=True)
    with writer.begin() as connection:
        command.downgrade(_config(connection), "0003")
        columns = {column["name"] for column in sqlalchemy.inspect(connection).get_columns("batch")}
        assert not columns & {"first_entry", "root", "evidence"}
        assert "lineage_break" not in sqlalchemy.inspect(connection).get_table_names()
    migrations.upgrade(store)
    with store.read() as session:
        assert sorted((one.file, one.first_entry) for one in session.exec(select(Batch))) == [
            ("a", None),
            ("b", None),
            ("c", None),
        ]
        assert session.exec(select(LineageBreak)).all() == []
    migrations.undo(store)
    store.close()
