"""Nothing that is damaged, refused or held by somebody else keeps an erasure from going on, or a store busy."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy

from app.control import erasing, holds, log_entries, raw_records, records, refused_copies, retention
from app.control.erasure import Wanted
from app.control.log_entries import Cursor
from app.control.problems import Conflict, TooMany, Unavailable
from app.control.raw_records import Span
from app.control.store import Batch, ErasedBatch, Erasure, Hold, LineageBreak
from app.core import record_frames

from .batch_kit import Chain
from .conftest import record
from .test_erasure import ISSUER, age, by_hand, erase, filled, hold, keep, of, of_ann, payments, plane, rows

__all__ = ["by_hand", "filled", "payments", "plane"]


def refusing(monkeypatch, plane, *keys):
    """A store that says 403 for these keys; gives which were asked for."""
    real, asked = type(plane.objects).get, []

    def get(self, key):
        if key in keys:
            asked.append(key)
            raise Unavailable("403 Forbidden")
        return real(self, key)

    monkeypatch.setattr(type(plane.objects), "get", get)
    return asked


def test_what_fails_comes_last_and_is_told_once(api, plane, filled, monkeypatch, caplog):
    """Also where as many fail as a round takes, and whatever the error is."""
    monkeypatch.setattr(erasing, "ROUND", 1)
    for decision in ("d0", "d3", "d5"):
        assert erase(api, decisions=[decision]).status_code == 202
    first, second, _ = rows(plane, Batch)
    refusing(monkeypatch, plane, first.object)
    plane.objects.put(second.object, record_frames.pack([]))
    failed = erasing.Failed()
    done = [erasing.step(plane, failed) for _ in range(5)]
    assert sum(done) == 1
    assert [row.removed_at is not None for row in rows(plane, ErasedBatch)] == [False, False, True]
    told = [one.message for one in caplog.records if "cannot be rewritten" in one.message]
    assert len(told) == 2, told
    monkeypatch.undo()
    monkeypatch.setattr(erasing, "GRACE", timedelta(0))
    assert erasing.step(plane, failed) == 1, "what failed is tried again"


def test_one_key_that_is_refused_ends_no_round(api, plane, filled, monkeypatch):
    of_ann(api)
    refusing(monkeypatch, plane, rows(plane, Batch)[0].object)
    assert erasing.step(plane) == 2


def test_a_store_that_does_not_answer_is_not_asked_for_each_batch(api, plane, filled, monkeypatch):
    monkeypatch.setattr(erasing, "OUTAGES", 2)
    of_ann(api)
    asked = refusing(monkeypatch, plane, *(row.object for row in rows(plane, Batch)))
    assert erasing.step(plane) == 0
    assert len(asked) == 2


def test_an_order_that_cannot_be_ended_keeps_no_other_from_it(api, plane, filled, monkeypatch):
    for decision in ("d0", "d3"):
        erase(api, decisions=[decision])
    real = refused_copies.remove
    broken = iter([True])

    def remove(plane, copies):
        if next(broken, False):
            raise Unavailable("403 Forbidden")
        return real(plane, copies)

    monkeypatch.setattr(refused_copies, "remove", remove)
    erasing.step(plane)
    assert [row.done_at is None for row in rows(plane, Erasure)] == [True, False]


def test_a_hold_is_looked_for_without_a_lock(api, plane, filled, monkeypatch):
    chain = Chain(name="two")
    assert chain.send(api, chain.peek(of("ann", 9)).change(root="0" * 64)).status_code == 409
    hold(api, system="payments", until="2020-01-01T00:00:00Z")
    of_ann(api)
    while erasing.step(plane):
        pass
    monkeypatch.setattr(type(plane.store), "write", lambda self: pytest.fail("nothing is to be written"))
    erasing.step(plane)


def test_what_was_changed_is_not_stored_under_a_name_that_vouches_for_it(api, plane, filled):
    batch = rows(plane, Batch)[0]
    there = raw_records.entries(plane.objects, batch)
    plane.objects.put(batch.object, record_frames.pack([there[0], there[1].replace(b"refund", b"payout"), there[2]]))
    erase(api, decisions=["d2"])
    assert erasing.step(plane) == 0
    assert rows(plane, Batch)[0].object == batch.object


def bare(plane):
    return replace(plane, verify_batch=None)


def test_a_batch_whose_acknowledgement_was_lost_may_come_again_after_an_erasure(api, plane):
    body, other = record("z1") + record("z2"), record("z1") + record("z3")
    span = Span("payments", "late", "i1", "f.log", 0, len(body))
    assert records.ingest(bare(plane), span, body) == len(body)
    with pytest.raises(Conflict):
        records.ingest(bare(plane), span, other)
    erase(api, decisions=["z1"])
    erasing.step(plane)
    assert records.ingest(bare(plane), span, body) == len(body)
    with plane.store.write() as session:
        session.execute(sqlalchemy.delete(ErasedBatch))
    with pytest.raises(Conflict):
        records.ingest(bare(plane), span, body)


def test_holds_of_one_system_use_up_no_others(api, plane, monkeypatch):
    monkeypatch.setattr(holds, "MAX_ACTIVE", 2)
    bound = api.with_token("system:write", "system:read", system="ledger", name="Lea")
    assert [hold(bound, system="ledger").status_code for _ in range(3)] == [201, 201, 409]
    assert [hold(api, system="payments").status_code for _ in range(3)] == [201, 201, 409]
    assert [hold(api, issuer=ISSUER, subject="x").status_code for _ in range(3)] == [201, 201, 409]


def test_many_holds_are_a_few_queries(api, plane, filled):
    with plane.store.write() as session:
        for number in range(120):
            session.add(Hold(system="payments", subject_issuer=ISSUER, subject_id=f"x{number}", reason="r",
                             placed_by="Lea", execution=None))  # fmt: skip
    asked, own = [], threading.get_ident()

    def note(*some):
        if threading.get_ident() == own:  # and not what the control plane does meanwhile
            asked.append(some[2])

    sqlalchemy.event.listen(plane.store.engine, "before_cursor_execute", note)
    with plane.store.read() as session:
        batch = session.get_one(Batch, 1)
        asked.clear()
        assert holds.covering(session, batch) is None
        assert len(asked) <= 4
        session.add(Hold(subject_issuer=ISSUER, subject_id="bob", since_ns=1, reason="r", placed_by="Lea"))
        session.flush()
        assert (holds.covering(session, batch).subject_id, holds.covering(session, batch, [1])) == ("bob", None)
        session.rollback()


def test_retention_looks_outside_of_its_transaction(api, plane, filled, monkeypatch):
    keep(api, records_days=1)
    age(plane, 2, 1, 2)
    real, writing = holds.covering, []
    write = type(plane.store).write

    def look(*arguments):
        assert not writing
        return real(*arguments)

    class Written:
        def __init__(self, store):
            self.inner = write(store)

        def __enter__(self):
            writing.append(1)
            return self.inner.__enter__()

        def __exit__(self, *error):
            writing.clear()
            return self.inner.__exit__(*error)

    with monkeypatch.context() as patch:
        patch.setattr(holds, "covering", look)
        patch.setattr(type(plane.store), "write", lambda store: Written(store))
        assert retention.step(plane) == 2
    assert retention.step(plane) == 0, "they are ordered"


def test_a_hold_that_is_placed_after_the_look_keeps_rows(api, plane, filled, monkeypatch):
    keep(api, records_days=1, columns_days=1)
    age(plane, 2, 1)
    assert retention.step(plane) + erasing.step(plane) == 2
    with plane.store.read() as session:
        rule = retention.get(session, "payments")
    hold(api, system="payments")
    assert retention._delete_rows(plane, rule, 1) == 0


def test_refused_batches_are_looked_through_by_one_at_a_time_and_parsed_where_they_may_be_meant(
    api, plane, filled, monkeypatch
):
    many = b"".join([*(of("bob", 100 + number) for number in range(20)), of("ann", 9)])
    escaped = of("bob", 130).replace(b'"bob"', b'"\\u0061nn"')
    chain = Chain(name="two")
    assert chain.send(api, chain.peek(many).change(root="0" * 64)).status_code == 409
    chain = Chain(name="three")
    assert chain.send(api, chain.peek(escaped).change(root="0" * 64)).status_code == 409
    parsed, real = [], refused_copies.record_lines.read_lines
    monkeypatch.setattr(
        refused_copies.record_lines, "read_lines", lambda some: real(parsed.append(one) or one for one in some)
    )
    wanted = Wanted(ISSUER, "ann", (), "payments")
    assert refused_copies.find(plane, wanted) == [1, 2]
    assert len(parsed) == 2
    with refused_copies._alone("payments"):
        with pytest.raises(TooMany):
            refused_copies.find(plane, wanted)
        assert refused_copies.find(plane, replace(wanted, system="ledger")) == []
    assert refused_copies.find(plane, wanted) == [1, 2]


def test_a_page_of_log_entries_reads_few_refused_bodies(api, plane, monkeypatch):
    monkeypatch.setattr(log_entries, "MAX_REFUSED", 2)
    monkeypatch.setattr(log_entries, "SETTLED", -log_entries.SETTLED)
    with plane.store.write() as session:
        for _ in range(3):
            session.add(LineageBreak(system="payments", sidecar="one", kind="k", detail="d", stops=True,
                                     body_sha256="0" * 64, object="quarantine/x"))  # fmt: skip
    first = log_entries.page(plane, None, Cursor())
    second = log_entries.page(plane, None, first.next)
    assert (first.next.refused, first.more, second.next.refused, second.more) == (2, True, 3, False)
