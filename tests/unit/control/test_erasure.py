"""What is erased is gone everywhere, what is not stays as it was, and a crash between two steps loses nothing."""

import json
import re
import time
from datetime import timedelta

import pytest
from sqlmodel import select

from app.control import erasing, erasing_worker, raw_records, retention
from app.control.store import Batch, Decision, ErasedBatch, Erasure, Hold, LineageBreak, batch_words, decision_row
from app.control.store.columns import now
from app.core import merkle, record_frames, word_filter
from app.core.proof_form import Proof
from app.core.record_words import Wanted

from .batch_kit import Chain, give_release
from .conftest import record

ISSUER = "https://tokens.example.org"
SECRET = "Ann-4111"
ROUND = erasing_worker.Erasing._round


@pytest.fixture
def plane(signed_plane):
    return signed_plane


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    """The thread does nothing here: each step is taken by the test, and nobody else reads meanwhile."""
    monkeypatch.setattr(erasing_worker.Erasing, "_round", lambda self: False)
    monkeypatch.setattr(erasing, "GRACE", timedelta(0))


@pytest.fixture(autouse=True)
def payments(api, plane):
    api.create_system("payments")
    api.create_system("ledger")


def of(subject, number, **members):
    """A record about a subject; Ann's hold a secret."""
    result = json.loads(record())["result"] | {
        "subject": {"issuer": ISSUER, "id": subject},
        "execution": f"e-{subject}",
    }
    asked = {
        "action": {"name": "refund"},
        "resource": {"type": "invoice", "id": f"of-{subject}"},
        "context": {"note": f"{SECRET} asked" if subject == "ann" else "nothing"},
    }
    return record(f"d{number}", result=result, input=asked, **members)


def ship(api, chain, *subjects, first):
    made = chain.next(b"".join(of(subject, first + number) for number, subject in enumerate(subjects)))
    assert chain.send(api, made).status_code == 200
    return made


@pytest.fixture
def filled(api):
    """Two batches of one sidecar, one of another system: d0 to d7; d0, d3 and d6 are Ann's."""
    chain = Chain()
    first = ship(api, chain, "ann", "bob", "bob", first=0)
    second = ship(api, chain, "ann", "bob", first=3)
    third = ship(api, Chain(system="ledger"), "bob", "ann", "bob", first=5)
    return [first, second, third]


def erase(api, *, dry_run=False, **body):
    return api.post("/api/v1/erasures", json={"reason": "request 17", "dry_run": dry_run, **body})


def of_ann(api, **more):
    return erase(api, issuer=ISSUER, subject="ann", **more)


def rows(plane, table):
    with plane.store.read() as session:
        return list(session.exec(select(table).order_by(table.id)))


def everything(plane):
    """All that the object store and the database hold, as bytes."""
    kept = b""
    for prefix in ("records", "salts", "quarantine"):
        for key, _ in plane.objects.keys(prefix):
            body = plane.objects.get(key)
            if key.startswith("records/"):
                body = b"\n".join(entry or b"" for entry in raw_records.unpack(key, body))
            kept += body
    return kept + repr([row.model_dump() for row in rows(plane, Decision)]).encode()


def test_a_dry_run_counts_and_changes_nothing(api, plane, filled):
    before = everything(plane)
    answer = erase(api, dry_run=True, issuer=ISSUER, subject="ann")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "dry_run": True, "decisions": 3, "batches": 3, "refused_batches": [], "held_by": [], "unknown": [],
    }  # fmt: skip
    assert "dry_run" in api.post("/api/v1/erasures", json={"reason": "r", "decisions": ["d1"]}).json()
    erasing.step(plane)
    assert everything(plane) == before
    assert rows(plane, Erasure) == []


def test_a_subject_is_gone_everywhere_and_others_stay(api, plane, filled):
    give_release(plane)
    neighbour = api.get("/api/v1/decisions/d1/proof").content
    words = {row.id for row in rows(plane, Batch) if word(plane, row, SECRET)}
    assert words == {1, 2, 3}
    answer = of_ann(api)
    assert answer.status_code == 202, answer.text
    order = answer.json()
    assert (order["decisions"], order["batches"], order["batches_done"], order["done_at"]) == (3, 3, 0, None)
    assert erasing.step(plane) == 3

    assert SECRET.encode() not in everything(plane)
    assert b"ann" not in everything(plane)
    assert not [row.id for row in rows(plane, Batch) if word(plane, row, SECRET)]
    for number in (0, 3, 6):
        gone = api.get(f"/api/v1/decisions/d{number}")
        assert (gone.status_code, gone.json()["reason"]) == (410, "record.erased"), gone.text
        assert "erasure 1, ordered by first administrator" in gone.json()["detail"]
        assert "request 17" in gone.json()["detail"]
    for number in (1, 2, 4, 5, 7):
        assert api.get(f"/api/v1/decisions/d{number}").status_code == 200
    assert api.get("/api/v1/decisions/d1/proof").content == neighbour

    emptied = [row for row in rows(plane, Decision) if row.erased is not None]
    assert [row.decision_id for row in emptied] == ["d0", "d3", "d6"]
    for row in emptied:
        assert (row.subject_issuer, row.subject_id, row.action, row.resource_type, row.resource_id) == (None,) * 5
        assert (row.reasons, row.execution, row.outcome, row.erased) == ([], None, "allow", order["id"])

    shown = api.get(f"/api/v1/erasures/{order['id']}").json()
    assert (shown["batches_done"], shown["asked_by"], shown["reason"]) == (3, "first administrator", "request 17")
    assert shown["done_at"] is not None
    assert [(one["system"], one["first_entry"], one["numbers"]) for one in shown["entries"]] == [
        ("payments", 0, [0]), ("payments", 3, [0]), ("ledger", 0, [1]),
    ]  # fmt: skip
    assert "ann" not in json.dumps(shown), "whom it was about would undo it"


def word(plane, batch, text):
    with plane.store.read() as session:
        found = session.execute(select(batch_words).where(batch_words.table.c.id == batch.id)).scalar_one()
    return word_filter.may_hold(found, Wanted(text).terms)


def test_what_remains_proves_that_something_was_there(api, plane, filled):
    give_release(plane)
    before = Proof.read(api.get("/api/v1/decisions/d0/proof").content)
    erase(api, decisions=["d0"])
    erasing.step(plane)
    answer = api.get("/api/v1/decisions/d0/proof")
    assert answer.status_code == 200, answer.text
    after = Proof.read(answer.content)
    assert (after.record, after.salt, after.release) == (None, None, None)
    assert (after.leaf, after.index, after.path, after.batch) == (before.leaf, before.index, before.path, before.batch)


def test_salts_of_what_is_gone_are_gone_too(api, plane, filled):
    erase(api, decisions=["d0"])
    erasing.step(plane)
    batch = rows(plane, Batch)[0]
    salts = plane.objects.get(batch.salts)
    size = merkle.SALT
    assert salts[:size] == bytes(size)
    assert salts[size:] == filled[0].salts[size:]
    assert raw_records.entries(plane.objects, batch)[0] is None
    assert batch.sha256 == "", "it would tell whether a guess at the record is right"


@pytest.mark.parametrize("after", ["without", "commit", "remove", "removed"])
def test_a_crash_between_two_steps_loses_nothing(api, plane, filled, monkeypatch, after):
    class Crash(BaseException):
        pass

    def crash(erased, *arguments):
        if erased is plane:  # and not one that a thread of another test still looks at
            raise Crash
        finish(erased, *arguments)

    finish = erasing.finish

    def crash_after(target, name):
        real = getattr(target, name)

        def then(*arguments, **named):
            real(*arguments, **named)
            raise Crash

        monkeypatch.setattr(target, name, then)

    order = of_ann(api).json()["id"]
    if after == "without":
        crash_after(raw_records, "without")
    elif after == "commit":
        crash_after(erasing, "_commit")
    elif after == "remove":
        crash_after(type(plane.objects), "remove")
    else:
        monkeypatch.setattr(erasing, "finish", crash)
    with pytest.raises(Crash):
        erasing.step(plane)
    monkeypatch.undo()
    assert api.get(f"/api/v1/erasures/{order}").json()["done_at"] is None
    monkeypatch.setattr(erasing_worker.Erasing, "_round", lambda self: False)
    monkeypatch.setattr(erasing, "GRACE", timedelta(0))
    while erasing.step(plane):
        pass
    assert SECRET.encode() not in everything(plane)
    assert api.get(f"/api/v1/erasures/{order}").json()["done_at"] is not None
    named = {name for row in rows(plane, Batch) for name in (row.object, row.salts)}
    stored = {key for prefix in ("records", "salts") for key, _ in plane.objects.keys(prefix)}
    assert stored == named
    for number in (1, 2, 4, 5, 7):
        assert api.get(f"/api/v1/decisions/d{number}").status_code == 200


def test_what_a_repeat_left_beside_the_batch_is_removed_too(api, plane, filled):
    batch = rows(plane, Batch)[0]
    beside = re.sub(r"-[0-9a-f]{64}", "-" + "0" * 64, batch.object)
    plane.objects.put(beside, plane.objects.get(batch.object))
    erase(api, decisions=["d0"])
    erasing.step(plane)
    assert beside not in {key for key, _ in plane.objects.keys("records")}


def test_two_orders_about_one_batch(api, plane, filled):
    first = erase(api, decisions=["d1"]).json()["id"]
    second = of_ann(api, system="payments").json()["id"]
    while erasing.step(plane):
        pass
    assert raw_records.entries(plane.objects, rows(plane, Batch)[0])[:2] == [None, None]
    assert [row.erased for row in rows(plane, Decision)] == [second, first, None, second, None, None, None, None]
    again = erase(api, decisions=["d1"])
    assert again.status_code == 404
    assert "erased before" in again.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "name a subject, or decisions"),
        ({"issuer": ISSUER}, 422, "issuer and its id"),
        ({"issuer": ISSUER, "subject": "ann", "decisions": ["d0"]}, 422, "name a subject, or decisions"),
        ({"decisions": ["d0", "none"]}, 404, "no decision none"),
        ({"issuer": ISSUER, "subject": "nobody"}, 404, "nothing of this subject"),
        ({"decisions": ["d0"], "system": "none"}, 404, "no system none"),
        ({"decisions": ["d0"], "reason": " "}, 422, "say why"),
    ],
)
def test_wrong_orders_are_refused_whole(api, plane, filled, body, status, said):
    before = everything(plane)
    answer = erase(api, **body)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert rows(plane, Erasure) == []
    erasing.step(plane)
    assert everything(plane) == before


def test_a_token_of_one_system_erases_in_that_one(api, plane, filled):
    assert of_ann(api.with_token("system:read")).status_code == 403
    bound = api.with_token("system:write", "system:read", system="ledger", name="Lea")
    assert of_ann(bound, system="payments").status_code == 403
    answer = of_ann(bound)
    assert (answer.json()["decisions"], answer.json()["system"], answer.json()["asked_by"]) == (1, "ledger", "Lea")
    other = of_ann(api).json()["id"]
    assert [one["id"] for one in bound.get("/api/v1/erasures").json()] == [answer.json()["id"]]
    assert bound.get(f"/api/v1/erasures/{other}").status_code == 404


def hold(api, reason="case 3", **body):
    return api.post("/api/v1/holds", json={"reason": reason, **body})


@pytest.mark.parametrize(
    ("held", "covers"),
    [
        ({"system": "payments"}, True),
        ({"system": "ledger"}, False),
        ({"issuer": ISSUER, "subject": "ann"}, True),
        ({"issuer": ISSUER, "subject": "bob"}, False),
        ({"execution": "e-ann"}, True),
        ({"execution": "e-bob"}, False),
        ({"since": "2026-01-31T12:00:00Z"}, True),
        ({"since": "2026-01-31T12:00:01Z"}, False),
        ({"until": "2026-01-31T12:00:00.123456Z"}, True),
        ({"until": "2026-01-31T12:00:00.123455Z"}, False),
        ({"system": "payments", "execution": "e-ann", "until": "2026-01-01T00:00:00Z"}, False),
    ],
)
def test_a_hold_forbids_what_all_its_members_fit(api, plane, filled, held, covers):
    assert hold(api, **held).status_code == 201
    assert erase(api, dry_run=True, decisions=["d0"]).json()["held_by"] == ([1] if covers else [])
    answer = erase(api, decisions=["d0"])
    assert answer.status_code == (409 if covers else 202), answer.text
    erasing.step(plane)
    assert (raw_records.entries(plane.objects, rows(plane, Batch)[0])[0] is not None) is covers
    if covers:
        assert answer.json()["reason"] == "hold.active"
        assert "hold 1 by first administrator" in answer.json()["detail"]
        assert api.post("/api/v1/holds/1/release", json={"reason": "closed"}).status_code == 200
        assert erase(api, decisions=["d0"]).status_code == 202


RESULT = json.loads(record())["result"]


@pytest.mark.parametrize(
    "masked",
    [
        {"result": RESULT | {"subject": {"issuer": ISSUER, "id": "(masked)"}}},
        {"result": RESULT | {"subject": "(masked)"}},
        {"result": "(masked)", "input": "(masked)"},
    ],
)
@pytest.mark.parametrize("held", [{"issuer": ISSUER, "subject": "ann"}, {"execution": "e-ann"}])
def test_whose_a_masked_record_is_nobody_can_say(api, plane, masked, held):
    if "execution" in held:
        masked = masked | {"input": "(masked)"}
    chain = Chain()
    assert chain.send(api, chain.next(record("d0", **masked))).status_code == 200
    hold(api, **held)
    assert erase(api, decisions=["d0"]).json()["reason"] == "hold.active"


def test_one_batch_that_cannot_be_rewritten_keeps_no_other_from_it(api, plane, filled, monkeypatch):
    """Its object was changed; and whatever an order stumbles over, the thread goes on."""
    plane.objects.put(rows(plane, Batch)[0].object, record_frames.pack([b"{}"]))
    for decision in ("d2", "d6"):
        assert erase(api, decisions=[decision]).status_code == 202
    assert erasing.step(plane) == 1

    def broken(plane, failed):
        raise ValueError("x")

    thread = erasing_worker.Erasing(plane, interval=0.01)
    monkeypatch.setattr(erasing, "step", broken)
    thread.start()
    try:
        time.sleep(0.1)
        assert thread._rounds._thread.is_alive()
    finally:
        thread.stop()


def test_a_hold_that_is_placed_meanwhile_stops_what_is_not_gone_yet(api, plane, filled, monkeypatch):
    order = of_ann(api).json()["id"]
    real = raw_records.without
    placed = []

    def slow(objects, span, *others):
        if span.system == "ledger" and not placed:
            placed.append(hold(api, system="ledger").json()["id"])
        return real(objects, span, *others)

    monkeypatch.setattr(raw_records, "without", slow)
    assert erasing.step(plane) == 2
    shown = api.get(f"/api/v1/erasures/{order}").json()
    assert (shown["batches_done"], shown["held_by"], shown["done_at"]) == (2, placed, None)
    assert api.get("/api/v1/decisions/d6").status_code == 200
    assert erasing.step(plane) == 0
    api.post(f"/api/v1/holds/{placed[0]}/release", json={"reason": "closed"})
    assert erasing.step(plane) == 1
    assert api.get(f"/api/v1/erasures/{order}").json()["done_at"] is not None
    assert SECRET.encode() not in everything(plane)


def test_holds_are_placed_and_released_by_name(api, plane):
    bound = api.with_token("system:write", "system:read", system="ledger", name="Lea")
    assert hold(bound, system="payments").status_code == 403
    own = hold(bound, since="2026-01-01T00:00:00Z").json()
    assert (own["system"], own["placed_by"], own["since_ns"]) == ("ledger", "Lea", "1767225600000000000")
    others = hold(api, issuer=ISSUER, subject="ann").json()["id"]
    assert bound.post(f"/api/v1/holds/{others}/release", json={"reason": "r"}).status_code == 404
    assert [one["id"] for one in bound.get("/api/v1/holds").json()] == [own["id"], others]
    for wrong in ({}, {"issuer": ISSUER}, {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}):
        assert hold(api, **wrong).status_code == 422
    assert hold(api, system="none").status_code == 404
    assert hold(api, system="ledger", reason=" ").status_code == 422
    released = api.post(f"/api/v1/holds/{others}/release", json={"reason": "closed"}).json()
    assert released["released_by"] == "first administrator"
    assert api.post(f"/api/v1/holds/{others}/release", json={"reason": "closed"}).status_code == 409
    assert [one["release_reason"] for one in api.get("/api/v1/holds?released=true").json()] == ["closed"]
    assert len(rows(plane, Hold)) == 2


def cells(browser, heading):
    """The rows of the table under a heading of the page, as texts."""
    text = browser.get("/keeping").text
    table = text.split(f"<h2>{heading}</h2>")[1].split("</section>")[0]
    found = re.findall(r"<tr>(<td.*?)</tr>", table, re.DOTALL)
    return [
        [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
        for row in found
    ]


def test_a_page_shows_what_is_kept_and_what_was_erased(api, plane, anonymous, filled):
    assert anonymous.post("/login", data={"token": api.token}).status_code == 303
    keep(api, records_days=1, columns_days=2)
    hold(api, issuer=ISSUER, subject="bob")
    hold(api, system="ledger", since="2026-01-01T00:00:00Z")
    api.post("/api/v1/holds/2/release", json={"reason": "closed"})
    order = of_ann(api).json()["id"]
    kept = cells(anonymous, "How long records are kept")
    assert [row[:3] for row in kept] == [["ledger", "for ever", "for ever"], ["payments", "1 day", "2 days"]]
    assert kept[1][3].startswith("first administrator at ")
    [held] = cells(anonymous, "Legal holds in force")
    assert held[:5] == ["1", "all", f"subject bob issuer {ISSUER}", "case 3", "first administrator"]
    [released] = cells(anonymous, "Released holds")
    assert released[:5] == ["2", "ledger", "from 2026-01-01 00:00:00.000", "case 3", "first administrator"]
    assert released[6] == "closed"
    [erased] = cells(anonymous, "Erasures")
    assert erased[:6] == [str(order), "all", "3 decisions of a subject", "0 of 3", "request 17", "first administrator"]
    assert erased[7] == "under way"
    while erasing.step(plane):
        pass
    [erased] = cells(anonymous, "Erasures")
    assert erased[3] == "3 of 3" and erased[7].startswith("20")
    bound = api.with_token("system:read", system="ledger").token
    anonymous.post("/login", data={"token": bound})
    assert [row[0] for row in cells(anonymous, "How long records are kept")] == ["ledger"]


def test_a_page_names_the_hold_that_an_erasure_waits_for(api, plane, anonymous, filled):
    anonymous.post("/login", data={"token": api.token})
    of_ann(api)
    hold(api, issuer=ISSUER, subject="ann")
    while erasing.step(plane):
        pass
    [erased] = cells(anonymous, "Erasures")
    assert erased[3] == "0 of 3" and erased[7] == "hold.active hold 1"


def test_a_refused_batch_that_holds_such_records_is_removed_with_them(api, plane, filled):
    chain = Chain(name="two")
    strange = chain.peek(of("ann", 9)).change(root="0" * 64)
    assert chain.send(api, strange).status_code == 409
    other = Chain(name="three")
    assert other.send(api, other.peek(of("bob", 10)).change(root="0" * 64)).status_code == 409
    assert len(list(plane.objects.keys("quarantine"))) == 2
    assert of_ann(api, dry_run=True).json()["refused_batches"] == [1]
    hold(api, system="payments", until="2020-01-01T00:00:00Z")
    order = of_ann(api).json()["id"]
    while erasing.step(plane):
        pass
    assert len(list(plane.objects.keys("quarantine"))) == 2, "no hold of the system may be in force"
    api.post("/api/v1/holds/1/release", json={"reason": "closed"})
    erasing.step(plane)
    assert api.get(f"/api/v1/erasures/{order}").json()["done_at"] is not None
    assert [row.object is None for row in rows(plane, LineageBreak)] == [True, False]
    assert len(list(plane.objects.keys("quarantine"))) == 1


def keep(api, system="payments", **days):
    return api.put(f"/api/v1/systems/{system}/retention", json=days)


def age(plane, days, *batches):
    with plane.store.write() as session:
        for row in session.exec(select(Batch)):
            if row.id in batches:
                row.received_at = now() - timedelta(days=days)
                row.seal = plane.store.seals.own("batch", row.model_dump())
                session.add(row)


def retained(plane):
    while retention.step(plane) + erasing.step(plane):
        pass


def test_what_is_past_its_time_is_erased_whole_batches_at_a_time(api, plane, filled):
    give_release(plane)
    assert keep(api, records_days=90, columns_days=365).status_code == 200
    age(plane, 91, 1)
    age(plane, 89, 2)
    age(plane, 400, 3)  # of the other system
    retained(plane)
    first, second, third = rows(plane, Batch)
    assert raw_records.entries(plane.objects, first) == [None] * 3
    assert set(plane.objects.get(first.salts)) == {0}
    assert None not in raw_records.entries(plane.objects, second) + raw_records.entries(plane.objects, third)
    assert [row.subject_id for row in rows(plane, Decision) if row.batch == 1] == ["ann", "bob", "bob"]
    assert "records are kept for 90 days" in api.get("/api/v1/decisions/d0").json()["detail"]
    assert Proof.read(api.get("/api/v1/decisions/d0/proof").content).record is None
    [order] = api.get("/api/v1/erasures").json()
    assert (order["kind"], order["decisions"], order["asked_by"]) == ("retention", 1, "first administrator")
    assert api.get("/api/v1/erasures/1").json()["entries"][0]["numbers"] is None

    age(plane, 366, 1)
    retained(plane)
    assert [row.batch for row in rows(plane, Decision)] == [2, 2, 3, 3, 3]
    assert rows(plane, ErasedBatch)[0].rows_deleted_at is not None
    assert len(rows(plane, Batch)) == 3, "the chain of batches stays"


def test_refused_batches_of_cleared_breaks_are_past_their_time_too(api, plane, filled):
    for name in ("two", "three"):
        chain = Chain(name=name)
        assert chain.send(api, chain.peek(of("ann", 9)).change(root="0" * 64)).status_code == 409
    assert api.post("/api/v1/lineage/breaks/1/clear", json={"reason": "looked at it"}).status_code == 200
    with plane.store.write() as session:
        for row in session.exec(select(LineageBreak)):
            row.opened_at = now() - timedelta(days=91)
            session.add(row)
    keep(api, records_days=90)
    hold(api, system="payments", until="2020-01-01T00:00:00Z")
    retained(plane)
    assert [row.object is None for row in rows(plane, LineageBreak)] == [False, False]
    api.post("/api/v1/holds/1/release", json={"reason": "closed"})
    retained(plane)
    assert [row.object is None for row in rows(plane, LineageBreak)] == [True, False], "the other is open"
    assert [(row.decisions, row.copies) for row in rows(plane, Erasure)] == [(0, [1])]
    assert len(list(plane.objects.keys("quarantine"))) == 1


def test_a_hold_keeps_what_is_past_its_time(api, plane, filled):
    keep(api, records_days=1, columns_days=2)
    age(plane, 30, 1, 2)
    hold(api, issuer=ISSUER, subject="ann")
    retained(plane)
    assert rows(plane, Erasure) == []
    api.post("/api/v1/holds/1/release", json={"reason": "closed"})
    retained(plane)
    assert [row.batch for row in rows(plane, Decision)] == [3, 3, 3]


def test_what_is_received_after_an_erasure_follows_the_chain(api, plane, filled):
    keep(api, records_days=1)
    age(plane, 30, 1, 2)
    retained(plane)
    follow = Chain()
    for made in filled[:2]:
        follow.follow(made)
    ship(api, follow, "bob", first=20)
    assert api.get("/api/v1/decisions/d20").status_code == 200
    assert follow.send(api, filled[0]).status_code == 200, "a repeat of what was erased is known still"
    assert raw_records.entries(plane.objects, rows(plane, Batch)[0]) == [None] * 3


def test_how_long_records_are_kept_is_set_by_name(api, plane):
    assert api.get("/api/v1/systems/payments/retention").json()["records_days"] is None
    assert keep(api, records_days=90, columns_days=30).status_code == 422
    assert keep(api, records_days=0).status_code == 422
    assert keep(api, "none", records_days=1).status_code == 404
    assert keep(api.with_token("system:read"), records_days=1).status_code == 403
    assert keep(api.with_token("system:write", name="Lea"), records_days=90).json()["set_by"] == "Lea"
    assert api.delete("/api/v1/systems/payments/retention").json()["records_days"] is None
    assert api.delete("/api/v1/systems/payments/retention").status_code == 404


def test_nothing_stays_in_the_database(api, plane, installed, filled, database):
    """Of SQLite, in its file either, where what was deleted else stays on free pages."""

    def held():
        if database is not None:
            with plane.store.read() as session:
                tables = [session.exec(select(table)).all() for table in (Batch, Decision, Erasure, ErasedBatch)]
            return repr(tables).encode()
        with plane.store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return b"".join(path.read_bytes() for path in installed.directory.glob("*") if path.is_file())

    assert b"of-ann" in held()
    of_ann(api)
    erasing.step(plane)
    assert b"of-bob" in held()
    assert b"of-ann" not in held()


def test_the_thread_does_what_was_ordered_and_what_is_past_its_time(api, plane, filled):
    of_ann(api, system="ledger")
    keep(api, records_days=1)
    age(plane, 2, 1)
    worker = erasing_worker.Erasing(plane)
    while ROUND(worker):
        pass
    first, second, third = (raw_records.entries(plane.objects, row) for row in rows(plane, Batch))
    assert (first, None in second, [entry is None for entry in third]) == ([None] * 3, False, [False, True, False])
    age(plane, 2, 2)
    assert not ROUND(worker), "retention is not looked at again at once"


def test_batches_that_are_stored_as_plain_lines_are_put_into_frames(api, plane, filled):
    """As they were before there were frames: positions are bytes then."""
    with plane.store.write() as session:
        batch = session.get_one(Batch, 1)
        lines = raw_records.entries(plane.objects, batch)
        begins = {number: sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))}
        plain = batch.object.rpartition("-")[0] + f"-{batch.sha256}.jsonl"
        plane.objects.put(plain, b"".join(line + b"\n" for line in lines))
        batch.object = plain
        batch.seal = plane.store.seals.own("batch", batch.model_dump())
        session.add(batch)
        for row in session.exec(select(Decision).where(Decision.batch == 1)):
            row.position = begins[row.position]
            row.id = decision_row(1, row.position)
            session.add(row)
    assert api.get("/api/v1/decisions/d2").status_code == 200
    erase(api, decisions=["d1"])
    erase(api, decisions=["d2"])  # its order names the row by the number that it has before the first is done
    erasing.step(plane)
    found = rows(plane, Decision)[:3]
    assert [(row.position, row.id) for row in found] == [(number, decision_row(1, number)) for number in range(3)]
    assert [row.subject_id is None for row in found] == [False, True, True]
    assert [order.decisions for order in rows(plane, ErasedBatch)] == [[found[1].id], [found[2].id]]
    assert [api.get(f"/api/v1/decisions/d{number}").status_code for number in range(3)] == [200, 410, 410]
    assert not [key for key, _ in plane.objects.keys("records") if key.endswith(".jsonl")]


def test_who_reads_meanwhile_is_not_disturbed(api, plane, filled, monkeypatch):
    monkeypatch.setattr(erasing, "GRACE", timedelta(hours=1))
    before = rows(plane, Batch)[0]
    order = erase(api, decisions=["d0"]).json()["id"]
    assert erasing.step(plane) == 0
    assert raw_records.entries(plane.objects, before)[0] is not None, "who has the row still reads what it names"
    assert api.get("/api/v1/decisions/d0").status_code == 410
    assert api.get(f"/api/v1/erasures/{order}").json()["done_at"] is None
    assert erasing.step(plane) == 0
    monkeypatch.setattr(erasing, "GRACE", timedelta(0))
    assert erasing.step(plane) == 1
    assert before.object not in {key for key, _ in plane.objects.keys("records")}
    assert api.get(f"/api/v1/erasures/{order}").json()["done_at"] is not None


def test_the_page_of_an_erased_decision_says_who_ordered_it(anonymous, api, plane, filled):
    erase(api, decisions=["d0"])
    erasing.step(plane)
    anonymous.post("/login", data={"token": api.token})
    page = anonymous.get("/decisions/d0")
    assert page.status_code == 410
    assert "erasure 1, ordered by first administrator" in page.text
    assert "erased" in anonymous.get("/decisions").text
