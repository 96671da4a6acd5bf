"""What is counted of batches' values is what their decisions say; searches and summaries by it are exact."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select

from app.control import batch_search, batch_values, erasing, installation, search, summary, value_counts
from app.control.decision_filter import Filter
from app.control.store import Batch, BatchValue, Decision, decision_row
from app.control.value_counts import MAX_PLACES
from app.control.web import histogram
from app.core.errors import UsageError
from tests.soon import soon

from .conftest import record

BEGIN = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
ACTIONS = ["read", "read", "read", "pay", "refund", "x" * 600, "ärger \U0001f600" * 30]
REASONS = ["policy.denied", "lease.expired", 'odd", "policy.denied', "Policy.Denied", "%_", "\\", "r" * 130]
COLUMNS = ("position", "outcome", "action", "resource_type", "subject_issuer", "policy", "reasons")


def made(number, chance):
    """A record of second `number`."""
    allow, reasons = chance.random() < 0.6, chance.sample(REASONS, chance.randint(0, 3))
    return record(
        f"d{number}",
        at=(BEGIN + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        input={"action": {"name": chance.choice(ACTIONS)}, "resource": {"type": chance.choice("ab"), "id": "r"}},
        result={
            "allow": allow,
            "reasons": [{"code": code} for code in reasons],
            "subject": {"issuer": chance.choice(["https://i", "https://j"]), "id": "s"},
            "bundles": {"policy": f"sha256:{chance.randint(0, 1):064}"},
        },
    )


@pytest.fixture
def filled(api):
    """1,500 records, a second each, in batches of two sidecars that overlap; one of them is large."""
    chance = random.Random(3)
    for system in ("payments", "ledger"):
        api.create_system(system)
    lines = [made(number, chance) for number in range(1500)]
    places = Counter()
    left = {"one": lines[0:700:2] + lines[700:], "two": lines[1:700:2]}
    for sidecar, size in [*(("one", 35), ("two", 70)) * 5, ("one", 700), ("one", 275)]:
        body, left[sidecar] = b"".join(left[sidecar][:size]), left[sidecar][size:]
        assert api.ship(body, first=places[sidecar], sidecar=sidecar).status_code == 200
        places[sidecar] += len(body)
    assert left == {"one": [], "two": []}
    assert api.ship(made(20, chance), system="ledger").status_code == 200
    return api


def fits(row, name, value):
    return value[:100] in row.reasons if name == "reason" else getattr(row, name) == value[:512]


def rows_of(plane):
    with plane.store.read() as session:
        return session.exec(select(Decision).order_by(Decision.time_ns.desc(), Decision.id.desc())).all()


QUESTIONS = [
    *({"action": one} for one in {*ACTIONS, "none"}),
    *({"reason": one} for one in (*REASONS, "policy", "reason", '"', "denied")),
    *({"reason": one, "outcome": "allow"} for one in REASONS[:4]),
    *({"action": "pay", "reason": one} for one in REASONS),
    {"action": "read", "resource_type": "a", "subject_issuer": "https://i", "reason": "%_"},
    {"policy": f"sha256:{1:064}"},
    {"policy": f"sha256:{1:064}", "action": "refund"},
]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_searches_and_summaries_by_values_are_exact(filled, plane):
    rows, many = rows_of(plane), set()
    with plane.store.read() as session:
        for one in session.exec(select(BatchValue)).all():
            assert (one.places is None) == (one.allows + one.denials + one.unreadable > MAX_PLACES)
            many.add(one.places is None)
        assert many == {True, False}
        for asked in QUESTIONS:
            for more in ({}, {"outcome": "deny"}, {"system": "payments", "sidecar": "one"}, {"subject_id": "s"}):
                if asked.keys() & more.keys():
                    continue
                due = [
                    row
                    for row in rows
                    if all(fits(row, *one) for one in asked.items())
                    and all(getattr(row, name) == value for name, value in more.items())
                ]
                wanted, cursor, found = Filter(**asked, **more), None, []
                while True:
                    page = search.search(session, plane.objects, wanted, 60, cursor)
                    found += [one.id for one in page.items]
                    if (cursor := page.next) is None:
                        break
                assert found == [row.id for row in due], (asked, more)
                span = {"since": BEGIN + timedelta(seconds=333), "until": BEGIN + timedelta(seconds=1111)}
                begin, end = (int(at.timestamp()) * 10**9 for at in span.values())
                inside = [row for row in due if begin <= row.time_ns < end]
                bars = summary.histogram(session, Filter(**asked, **more, **span), "minute")
                there = Counter((row.time_ns // (60 * 10**9) * 60 * 10**9, row.outcome) for row in inside)
                counts = {(bar.start_ns, outcome): n for bar in bars for outcome, n in bar.counts.items() if n}
                assert counts == there, (asked, more)
                facets = summary.facets(session, plane.objects, Filter(**asked, **more, **span), "minute")
                assert facets.of == len(inside)
                assert dict(facets.values["resource_type"]) == Counter(row.resource_type for row in inside)
                assert dict(facets.values["reason"]) == Counter(code for row in inside for code in row.reasons)


def test_facets_are_of_the_newest(filled, plane, monkeypatch):
    monkeypatch.setattr(summary, "FACETS_OF", 40)
    newest = [row for row in rows_of(plane) if row.action == "pay"][:40]
    wanted = Filter(action="pay", since=BEGIN, until=BEGIN + timedelta(hours=1))
    with plane.store.read() as session:
        facets = summary.facets(session, plane.objects, wanted, "minute")
    assert facets.of == 40
    assert dict(facets.values["outcome"]) == Counter(row.outcome for row in newest)


def test_the_review_page_has_bars_of_what_batches_count(filled, plane):
    due = Counter(row.outcome for row in rows_of(plane) if row.action == "pay")
    span = {"since": BEGIN, "until": BEGIN + timedelta(hours=1)}
    with plane.store.read() as session:
        assert histogram.bars(session, Filter(action="pay", **span)).total == due.total() > 100
        assert histogram.bars(session, Filter(action="pay", reason="%_", **span)) is None, "rows tell, not batches"
    asked = {"action": "pay", "bucket": "minute", "since": "2026-01-31T12:00:00Z", "until": "2026-01-31T13:00:00Z"}
    answer = filled.get("/api/v1/decisions/summary", params=asked)
    assert answer.status_code == 200
    assert sum((Counter({name: bar[name] for name in due}) for bar in answer.json()["buckets"]), Counter()) == due


def test_places_that_were_changed_in_the_database_hide_no_row(filled, plane):
    """What fsck would name hides no row: places that cannot be read are none."""
    with plane.store.write() as session:
        for one in session.exec(select(BatchValue).where(BatchValue.value == "action=pay")).all():
            one.places = b"odd"
            session.add(one)
        if plane.store.engine.dialect.name == "sqlite":  # which stores what it is given
            session.flush()
            session.execute(sqlalchemy.text("UPDATE batch_value SET denials = 'odd' WHERE value = 'action=pay'"))
    due = [row.id for row in rows_of(plane) if row.action == "pay"]
    with plane.store.read() as session:
        page = search.search(session, plane.objects, Filter(action="pay"), 200)
        assert [one.id for one in page.items] == due[:200]
        assert session.exec(select(Batch)).first() is not None


@pytest.mark.unsealed
@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_rows_that_somebody_changed_keep_no_erasure_from_its_end(api, plane, database):
    """Values are counted without them. fsck names the rows, as before."""
    api.create_system("payments")
    body = b"".join(
        record(f"d{number}", False, input={"action": {"name": f"a{number}"}, "resource": {"type": "t", "id": "r"}})
        for number in range(8)
    )
    assert api.ship(body).status_code == 200
    deep = "[" * 3000 + "]" * 3000
    odd = [("reasons", "5"), ("reasons", deep), ("outcome", "odd"), ("action", "x" * 600), ("policy", b"\0a\0b")]
    kind = "json" if plane.store.engine.dialect.name == "postgresql" else "text"
    with plane.store.write() as session:
        for at, (column, value) in enumerate(odd):
            given = f"CAST(:value AS {kind})" if column == "reasons" else ":value"
            change = sqlalchemy.text(f"UPDATE decision SET {column} = {given} WHERE decision_id = :id")
            session.execute(change, {"value": value, "id": f"d{at}"})
    with plane.store.write() as session:
        batch_values.renew(session, 1)
    with plane.store.read() as session:
        found = {one.value for one in session.exec(select(BatchValue)).all()}
    assert {one for one in found if one.startswith("action=")} == {"action=a5", "action=a6", "action=a7"}


@pytest.mark.unsealed
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_batch_that_gets_other_places_meanwhile_hides_no_row(api, plane, monkeypatch):
    """Between the look at its values and that at its rows, an erasure puts plain lines into frames."""
    api.create_system("payments")
    lines = [record(f"d{number}") for number in range(5)]
    assert api.ship(b"".join(lines)).status_code == 200
    with plane.store.write() as session:
        [batch] = session.exec(select(Batch)).all()
        key = batch.object.removesuffix(".frames") + ".jsonl"
        plane.objects.put(key, b"".join(lines))
        batch.object = key
        session.add(batch)
        at = 0
        for number, one in enumerate(lines):
            change = {"position": at, "id": decision_row(1, at)}
            session.execute(sqlalchemy.update(Decision).where(Decision.decision_id == f"d{number}").values(**change))
            at += len(one)
        batch_values.renew(session, 1)
    ask = batch_search.ByBatch._ask_pending

    def meanwhile(self):
        with plane.store.write() as session:
            erasing._move(session, 1, dict(zip(accumulate(map(len, lines), initial=0), range(5), strict=False)))
            batch_values.renew(session, 1)
        ask(self)

    monkeypatch.setattr(batch_search.ByBatch, "_ask_pending", meanwhile)
    with plane.store.read() as session:
        page = search.search(session, plane.objects, Filter(action="refund"), 50)
    assert {one.decision_id for one in page.items} == {f"d{number}" for number in range(5)}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_what_somebody_changed_is_counted_anew_when_it_is_asked(filled, plane):
    def sorted_values():
        with plane.store.read() as session:
            found = [one.model_dump() for one in session.exec(select(BatchValue))]
        return sorted(found, key=lambda one: (one["batch"], one["value"]))

    before = sorted_values()
    with plane.store.write() as session:
        session.execute(sqlalchemy.text("DELETE FROM batch_value WHERE batch < 4"))
        session.execute(sqlalchemy.text("UPDATE batch_value SET denials = denials + 1, places = NULL WHERE batch = 5"))
    assert installation.recount(plane.settings, [1, 5]) == 2
    assert sorted_values() == [one for one in before if one["batch"] not in (2, 3)]
    assert installation.recount(plane.settings) == len({one["batch"] for one in before})
    assert sorted_values() == before
    with pytest.raises(UsageError, match="there is no batch 999"):
        installation.recount(plane.settings, [1, 999])


def test_lists_of_reasons_that_share_one_are_counted_at_once():
    numbered = [(at, "deny", None, None, None, None, f'["shared", "own{at}"]') for at in range(30_000)]
    with soon():
        found = value_counts.of_rows(numbered, COLUMNS)
    assert found["reason=shared"] == (None, 0, 30_000, 0)
    assert value_counts.places(found["reason=own7"]) == (7,)


ROW = st.tuples(
    st.sampled_from(["allow", "deny", "unreadable"]),
    st.sampled_from([None, "a", "b", ""]), st.sampled_from([None, "t"]), st.sampled_from([None, "https://i"]),
    st.sampled_from([None, b"\x01" + bytes(32), b"\x00odd"]),
    st.sampled_from(["[]", '["a"]', '["a", "b"]', '["b", "a", "a"]']),
)  # fmt: skip


@given(st.lists(ROW, max_size=200), st.integers(1, 1000))
def test_what_is_counted_is_what_rows_say(rows, apart):
    numbered = [(apart * at, *row) for at, row in enumerate(rows)]
    found = value_counts.of_rows(numbered, COLUMNS)
    for value, tally in found.items():
        name, _, text = value.partition("=")
        at = COLUMNS.index("reasons" if name == "reason" else name)
        having = [row for row in numbered if row[at] is not None and _has(name, row[at], text)]
        assert list(tally[1:]) == [sum(row[1] == one for row in having) for one in value_counts.COUNTS]
        places = value_counts.places(tally)
        assert places == (tuple(row[0] for row in having) if len(having) <= MAX_PLACES else None)
    assert {"action=a" in found, any(row[2] == "a" for row in numbered)} != {True, False}
    assert not any("None" in value for value in found)


def _has(name, raw, text):
    if name == "reason":
        return f'"{text}"' in raw
    return (raw if isinstance(raw, str) else "odd" if raw[0] == 0 else "sha256:" + "0" * 64) == text
