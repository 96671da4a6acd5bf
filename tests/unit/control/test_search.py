"""Search by columns, words and JSON paths finds all that fits, in order, whatever bounds the work of a page."""

import json
import random

import pytest
import sqlalchemy
from sqlmodel import col, select

from app.control import batch_search, raw_records, search
from app.control.decision_filter import Filter, Place
from app.control.store import Batch
from app.control.store.decision import batch_words
from app.control.tail import Tail, newest
from app.core import word_filter

from .conftest import record

DENIED = {"code": "policy.denied", "message": "no"}


def line(number, **context):
    """A record of second `number` of a day, about one of a few subjects, actions and resources."""
    allow = number % 3 != 0
    return record(
        f"d{number:03}",
        at=f"2026-01-31T12:{number // 60:02}:{number % 60:02}Z",
        input={
            "action": {"name": ("refund", "pay", "rare_action")[0 if number % 50 else 2] if number % 2 else "pay"},
            "resource": {"type": "invoice" if number % 4 else "order", "id": f"in-{number % 7}"},
            "context": {"amount": number % 10, "note": f"Zahlung Nr{number}", **context},
            "roles": ["clerk", f"group-{number % 5}"],
        },
        result={
            "allow": allow,
            "reasons": [] if allow else [DENIED, {"code": f"custom.{number % 11}", "message": "x"}],
            "subject": {"issuer": "https://i.example", "id": f"job-{number % 4}"},
            "bundles": {"policy": f"sha256:{number % 2:064}", "library": "sha256:" + "2" * 64},
        },
    )


@pytest.fixture
def filled(api, plane):
    """120 records in batches of 1 to 9 of two sidecars whose times overlap."""
    for system in ("payments", "ledger"):
        api.create_system(system)
    chance = random.Random(7)
    numbers = {"one": list(range(0, 120, 2)), "two": list(range(1, 120, 2))}
    places = dict.fromkeys(numbers, 0)
    while any(numbers.values()):
        sidecar = chance.choice([name for name, left in numbers.items() if left])
        size = chance.randint(1, 9)
        body = b"".join(line(number) for number in numbers[sidecar][:size])
        del numbers[sidecar][:size]
        assert api.ship(body, first=places[sidecar], sidecar=sidecar).status_code == 200
        places[sidecar] += len(body)
    assert api.ship(line(200, amount="4 0"), system="ledger").status_code == 200
    return api


def all_of(plane, wanted, limit=50, patience=5.0):
    """The ids of all pages, and how many pages there were."""
    found, cursor, pages = [], None, 0
    while True:
        with plane.store.read() as session:
            page = search.search(session, plane.objects, wanted, limit, cursor, patience)
        assert len(page.items) <= limit
        assert page.unread == []
        found += [one.decision_id for one in page.items]
        cursor, pages = page.next, pages + 1
        if cursor is None:
            return found, pages


def expected(fits):
    return [f"d{number:03}" for number in range(119, -1, -1) if fits(number)]


QUESTIONS = [
    ({"action": "rare_action"}, lambda n: n % 2 and n % 50 == 0),
    ({"action": "refund"}, lambda n: n % 2 == 1 and n % 50),
    ({"resource_type": "order", "outcome": "deny"}, lambda n: n % 12 == 0),
    ({"resource_id": "in-3"}, lambda n: n % 7 == 3),
    ({"subject_id": "job-2", "subject_issuer": "https://i.example"}, lambda n: n % 4 == 2),
    ({"subject_issuer": "https://other.example"}, lambda n: False),
    ({"reason": "policy.denied"}, lambda n: n % 3 == 0),
    ({"reason": "custom.4"}, lambda n: n % 3 == 0 and n % 11 == 4),
    ({"reason": "custom"}, lambda n: False),
    ({"sidecar": "two"}, lambda n: n % 2 == 1),
    ({"policy": f"sha256:{1:064}"}, lambda n: n % 2 == 1),
    ({"text": "zahlung nr17"}, lambda n: n == 17),
    ({"text": "NR1"}, lambda n: n == 1),
    ({"text": "clerk"}, lambda n: True),
    ({"text": "group-3", "outcome": "allow"}, lambda n: n % 5 == 3 and n % 3),
    ({"where": (("input.context.amount", "4"),)}, lambda n: n % 10 == 4),
    ({"where": (("input.context.amount", "4.0"), ("result.allow", "false"))}, lambda n: n % 10 == 4 and n % 3 == 0),
    ({"where": (("input.roles", "group-1"),), "text": "nr61 zahlung"}, lambda n: n == 61),
    ({"where": (("input.context.amount", "11"),)}, lambda n: False),
]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_every_question_gets_all_that_fits_newest_first(filled, plane):
    for asked, fits in QUESTIONS:
        for limit, patience in ((50, 5.0), (3, 5.0), (7, 0.0)):
            found, pages = all_of(plane, Filter(system="payments", **asked), limit, patience)
            assert found == expected(fits), (asked, limit, patience)
            assert pages > 1 or patience or len(found) <= limit


def test_a_page_may_end_early_and_goes_on(filled, plane):
    wanted = Filter(system="payments", text="nr1")
    with plane.store.read() as session:
        page = search.search(session, plane.objects, wanted, 10, None, patience=0.0)
    assert (page.items, bool(page.next)) == ([], True)
    assert all_of(plane, wanted, 10, 0.0)[0] == ["d001"]


def test_filters_spare_the_records_of_other_batches(filled, plane, monkeypatch):
    read = []
    get = plane.objects.__class__.get
    monkeypatch.setattr(plane.objects.__class__, "get", lambda self, key: read.append(key) or get(self, key))
    assert all_of(plane, Filter(text="nr17"))[0] == ["d017"]
    assert len(read) < 4


def test_of_records_that_nobody_signed_those_that_may_fit_are_asked_alone(filled, plane, monkeypatch):
    asked = []
    rows_of = batch_search.ByBatch._rows_of

    def noted(self, pending):
        asked.extend(one.positions for one in pending)
        return rows_of(self, pending)

    monkeypatch.setattr(batch_search.ByBatch, "_rows_of", noted)
    assert all_of(plane, Filter(text="nr17"))[0] == ["d017"]
    assert [len(one) for one in asked] == [1]


def test_rows_that_are_deleted_meanwhile_end_no_page(filled, plane, monkeypatch):
    whole = all_of(plane, Filter(system="payments", sidecar="two"), 10)[0]
    rows = batch_search.ByBatch._rows
    monkeypatch.setattr(batch_search.ByBatch, "_rows", lambda self, found: rows(self, found)[:3])
    found, pages = all_of(plane, Filter(system="payments", sidecar="two"), 10)
    assert (found, pages) == ([one for at, one in enumerate(whole) if at % 10 < 3], 6)
    monkeypatch.setattr(batch_search.ByBatch, "_rows", lambda self, found: [])
    assert all_of(plane, Filter(system="payments", sidecar="two"), 10) == ([], 6)


def test_batches_without_a_filter_are_searched_all_the_same(filled, plane):
    with plane.store.write() as session:
        session.execute(sqlalchemy.update(Batch.metadata.tables["batch"]).values({batch_words: None}))
    for asked, fits in QUESTIONS[-5:]:
        assert all_of(plane, Filter(system="payments", **asked))[0] == expected(fits)


def give_words(plane, words_of):
    """Each batch other words, made of its entries."""
    with plane.store.write() as session:
        table = Batch.metadata.tables["batch"]
        for batch in session.exec(select(Batch)).all():
            words = words_of(raw_records.entries(plane.objects, batch))
            session.execute(sqlalchemy.update(table).where(table.c.id == batch.id).values({batch_words: words}))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_filters_of_the_first_form_are_searched_all_the_same(filled, plane, monkeypatch):
    give_words(plane, lambda entries: word_filter.build(entries, word_filter.OLDEST))
    read = []
    get = plane.objects.__class__.get
    monkeypatch.setattr(plane.objects.__class__, "get", lambda self, key: read.append(key) or get(self, key))
    assert all_of(plane, Filter(text="nr17"))[0] == ["d017"]
    assert len(read) < 4
    for asked, fits in QUESTIONS[-8:]:
        assert all_of(plane, Filter(system="payments", **asked))[0] == expected(fits)


#: Such as are in no store, too: a filter that was changed makes no question fail.
FILTERS = [
    *(form + bytes(range(256)) * 4 * blocks for form in (b"pwf1", b"pwf2") for blocks in (1, 3, 7, 16)),
    *(form + bytes(range(64)) for form in (b"pwf0", b"pwf1", b"pwf2")),
    b"", b"pwf2", b"pwf1x", b"pwf2" + b"x" * 63, b"pwf2" + b"x" * 130,
]  # fmt: skip


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_the_database_cuts_out_the_block_of_a_term(api, plane):
    api.create_system("payments")
    api.ship(line(1))
    terms = [word_filter.term(f"word{number}") for number in range(30)]
    for filter in FILTERS:
        give_words(plane, lambda entries, filter=filter: filter)
        with plane.store.read() as session:
            cut = session.execute(sqlalchemy.select(*map(batch_search._block, terms))).one()
        for term, block in zip(terms, cut, strict=True):
            at = 4 + 64 * word_filter.block_at(filter[:4], len(filter[4:]) // 64, term.number)
            assert bytes(block or b"") == filter[at : at + 64], (filter[:4], len(filter))


def test_what_is_not_what_was_stored_is_named(filled, plane):
    with plane.store.read() as session:
        key = session.exec(select(Batch.object).order_by(col(Batch.newest_ns).desc()).offset(1)).first()
    plane.objects.put(key, b"something else")
    with plane.store.read() as session:
        page = search.search(session, plane.objects, Filter(text="zahlung"), 200, None, patience=60.0)
    assert page.unread == [key]
    assert 110 < len(page.items) < 121
    assert "not what was stored" in signed_in(filled).get("/decisions?text=zahlung").text


def test_records_too_deep_for_paths_do_not_hide_from_columns(api, plane):
    api.create_system("payments")
    deep = json.loads("[" * 400 + "]" * 400)
    api.ship(record("deep", input={"action": {"name": "strange"}, "deep": deep}))
    assert all_of(plane, Filter(action="strange"))[0] == ["deep"]
    assert all_of(plane, Filter(text="strange"))[0] == ["deep"]


def test_reasons_that_no_record_names_are_found(api, plane):
    api.create_system("payments")
    api.ship(record("odd", result={"allow": "yes"}) + record("failed", error={"code": "eval_conflict_error"}))
    api.ship(record("start", result={"decision": {"allow": False, "reasons": [{"code": "lease.missing"}]}}), file="f2")
    assert all_of(plane, Filter(reason="decision.malformed"))[0] == ["odd"]
    assert all_of(plane, Filter(reason="evaluation.error"))[0] == ["failed"]
    assert all_of(plane, Filter(reason="lease.missing"))[0] == ["start"]
    assert all_of(plane, Filter(reason="lease.expired"))[0] == []


def test_poison_is_found_by_its_words(api, plane):
    api.create_system("payments")
    lines = [
        b'{"decision_id": "broken", "path": "x", "input": {"word": "needle"\n',
        record("surrogate").replace(b'"in-7"', b'"\\ud800 needle"'),
        record("number").replace(b'"in-7"', b'[1e400, "needle"]'),
        record("nul").replace(b'"in-7"', b'"needle \\u0000"'),
        record("plain"),
    ]
    assert api.ship(b"".join(lines)).status_code == 200
    found = all_of(plane, Filter(text="needle"))[0]
    assert sorted(found)[:3] == ["nul", "number", sorted(found)[2]]
    assert len(found) == 4


#: 20,000 rows, by which PostgreSQL judges its indexes.
ROWS = """
INSERT INTO batch (system, sidecar, instance, file, first, last, sha256, object, other_lines, received_at)
  VALUES ('payments', 'one', 'i', 'f', 0, 1, 'x', 'x', 0, now());
INSERT INTO decision (id, batch, system, sidecar, decision_id, time_ns, outcome, reasons, subject_id, action,
    resource_id, mode, execution, position)
  SELECT n, (SELECT max(id) FROM batch), 'payments', 'one', 'd' || n, n,
    CASE WHEN n % 40 = 1 THEN 'deny' ELSE 'allow' END,
    '[]', 'job-' || n % 50, 'pay', 'in-' || n % 20, CASE WHEN n % 100 = 0 THEN 'shadow' END, 'run-' || n % 20, n
  FROM generate_series(1, 20000) AS n;
ANALYZE decision
"""
INDEXES = [
    ({}, "ix_decision_first_time_ns_id"),
    ({"outcome": "deny"}, "ix_decision_first_outcome_time_ns_id"),
    ({"subject_id": "job-1"}, "ix_decision_first_subject_id_time_ns_id"),
    ({"outcome": "deny", "system": "payments"}, "outcome_time_ns_id"),
    ({"resource_id": "in-1"}, "ix_decision_first_resource_id_time_ns_id"),
    ({"execution": "run-1"}, "ix_decision_first_execution_time_ns_id"),
    ({"mode": "shadow"}, "ix_decision_first_mode_time_ns_id"),
]


@pytest.mark.unsealed
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_indexed_filters_use_their_indexes(api, plane):
    api.create_system("payments")
    with plane.store.write() as session:
        for statement in ROWS.split(";"):
            session.execute(sqlalchemy.text(statement))
    with plane.store.read() as session:
        for asked, index in INDEXES:
            assert Filter(**asked).has_index
            query = search.by_index(Filter(**asked), 50, None)
            text = str(query.compile(plane.store.engine, compile_kwargs={"literal_binds": True}))
            plan = "\n".join(session.execute(sqlalchemy.text(f"EXPLAIN {text}")).scalars())
            assert index in plan, plan
            assert "Sort  (" not in plan, plan
            assert "Seq Scan" not in plan, plan
        query = search.by_index(Filter(), 50, Place(500, 3))
        text = str(query.compile(plane.store.engine, compile_kwargs={"literal_binds": True}))
        plan = "\n".join(session.execute(sqlalchemy.text(f"EXPLAIN {text}")).scalars())
        assert "Index Cond: (time_ns <= " in plan, plan  # a page far behind does not read what is before it


def signed_in(api):
    answer = api.client.post("/login", data={"token": api.token})
    assert answer.status_code == 303
    return api.client


def test_the_page_has_fields_bars_and_saved_searches(filled):
    body = {"filter": {"action": "refund", "since": "2026-01-31T00:00:00Z", "until": "2026-02-01T00:00:00Z"}}
    assert filled.put("/api/v1/searches/refunds", json=body).status_code == 200
    client = signed_in(filled)
    page = client.get("/decisions?saved=refunds&subject=job-1").text
    assert page.count("/decisions/d") == len(expected(lambda n: n % 2 == 1 and n % 50 and n % 4 == 1))
    assert 'value="job-1"' in page
    by_path = client.get("/decisions?where=timestamp%3D2026-01-31T12:00:01Z+path%3Dplacet/decision").text
    assert by_path.count("/decisions/d") == 1
    assert '<option value="refunds" selected>' in page
    bars = client.get("/decisions?since=2026-01-31T12:00&until=2026-01-31T13:00").text
    assert "<rect" in bars
    assert "121 decisions by minute" in bars or "120 decisions by minute" in bars
    assert "every 2s" in client.get("/decisions?follow=on").text


def test_a_follower_sees_what_arrives_once(filled, plane):
    with plane.store.read() as session:
        follower = Tail(Filter(system="payments", text="late"), newest(session))
        assert follower.look(session, plane.objects) == []
    filled.ship(line(300, word="late") + line(301), file="late")
    filled.ship(line(302, word="late"), file="late", system="ledger")
    with plane.store.read() as session:
        assert [one.decision_id for one in follower.look(session, plane.objects)] == ["d300"]
        assert follower.look(session, plane.objects) == []


def test_a_follower_that_comes_back_gets_the_latest_again_and_nothing_older(filled, plane):
    with plane.store.read() as session:
        follower = Tail(Filter(), newest(session))
    filled.ship(line(300), file="late")
    with plane.store.read() as session:
        assert [one.decision_id for one in follower.look(session, plane.objects)] == ["d300"]
        again = Tail(Filter(), follower.begin, follower.newest)
        assert [one.decision_id for one in again.look(session, plane.objects)] == ["d300"]
        assert again.look(session, plane.objects) == []


def test_the_summary_counts_by_time_and_outcome(filled):
    asked = {"system": "payments", "since": "2026-01-31T12:00:00Z", "until": "2026-01-31T12:02:00Z"}
    by_batch = filled.get("/api/v1/decisions/summary", params={**asked, "bucket": "minute"}).json()
    assert [(one["from"][11:16], one["allow"], one["deny"]) for one in by_batch["buckets"]] == [
        ("12:00", 40, 20),
        ("12:01", 40, 20),
    ]
    half = filled.get("/api/v1/decisions/summary", params={**asked, "until": "2026-01-31T12:01:30Z"}).json()
    assert [(one["allow"], one["deny"]) for one in half["buckets"]] == [(60, 30)]
    rows = filled.get("/api/v1/decisions/summary", params={**asked, "subject": "job-1"}).json()
    assert sum(one["allow"] + one["deny"] for one in rows["buckets"]) == 30
    facets = by_batch["facets"]
    assert facets["of"] == 120
    assert facets["outcome"] == [{"value": "allow", "count": 80}, {"value": "deny", "count": 40}]
    assert facets["reason"][0] == {"value": "policy.denied", "count": 40}
    for wrong in ({"bucket": "year"}, {"text": "x"}, {"since": "2020-01-01", "bucket": "minute"}):
        assert filled.get("/api/v1/decisions/summary", params=wrong).status_code == 422


def test_saved_searches_are_of_a_system_or_of_all(filled):
    put = filled.put(
        "/api/v1/searches/denials", json={"filter": {"outcome": "deny", "where": ["input.context.amount=4"]}}
    )
    assert put.status_code == 200, put.text
    bound = filled.with_token("decision:read", "system:write", system="ledger")
    found = filled.get("/api/v1/decisions", params={"saved": "denials", "system": "payments", "limit": 200}).json()
    assert [one["decision_id"] for one in found["items"]] == expected(lambda n: n % 10 == 4 and n % 3 == 0)
    assert [one["name"] for one in bound.get("/api/v1/searches").json()] == ["denials"]
    assert bound.put("/api/v1/searches/own", json={"filter": {}}).status_code == 403
    assert bound.put("/api/v1/searches/own?system=ledger", json={"filter": {"text": "nr200"}}).status_code == 200
    assert len(bound.get("/api/v1/decisions?saved=own").json()["items"]) == 1
    assert filled.get("/api/v1/decisions?saved=own").status_code == 404
    assert bound.delete("/api/v1/searches/denials").status_code == 403
    assert filled.delete("/api/v1/searches/denials").status_code == 204
    assert filled.delete("/api/v1/searches/denials").status_code == 404
    for wrong in ({"outcome": "maybe"}, {"colour": "red"}, {"text": "%"}, {"since": "yesterday"}, {"where": "x"}):
        assert filled.put("/api/v1/searches/wrong", json={"filter": wrong}).status_code == 422, wrong
