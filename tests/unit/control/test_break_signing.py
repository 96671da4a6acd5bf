"""A break and its clearing are signed by the control plane and kept where no database is needed to read them."""

import json
from datetime import timedelta
from hashlib import sha256

import pytest
from sqlmodel import select

from app.control import break_signing
from app.control.break_signing import Failed
from app.control.lineage_rows import RowEvidence
from app.control.problems import Unavailable
from app.control.sidecar_statement import payload_of
from app.control.store import LineageBreak, SignedBreak
from app.control.store.columns import now
from app.core.break_statement import BreakStatement
from app.core.errors import PlacetError
from app.core.execution_evidence import Key

from .batch_kit import DOMAIN, Chain, plain_evidence, sidecar_id, sign_break_plain
from .conftest import record
from .test_judgement import BREAKS, OTHER_OPA, breaks, send


@pytest.fixture
def plane(signed_plane):
    return signed_plane


def broken(api, chain, name="one"):
    """A sidecar that another OPA binary stopped; its break, as the API shows it."""
    assert chain.send(api, chain.next(record(f"d0-{name}"))).status_code == 200
    assert send(api, chain, opa=OTHER_OPA).status_code == 200
    [found] = [one for one in breaks(api) if one["sidecar"] == name]
    return found


def rows(plane):
    with plane.store.read() as session:
        return list(session.exec(select(SignedBreak).order_by(SignedBreak.id)))


def said(plane):
    """What lies in the object store, by the ends of the names."""
    found = {}
    for key, _ in plane.objects.keys("breaks"):
        statement = payload_of(plane.objects.get(key))
        found[key] = BreakStatement.read(statement)
    return found


def test_a_break_and_its_clearing_are_signed_statements(api, plane, chain):
    found = broken(api, chain)
    assert not break_signing.step(plane, sign_break_plain, Failed())
    opened_at = f"breaks/payments/one/{found['id']:012d}-opened.json"
    [(key, opened)] = said(plane).items()
    assert key == opened_at
    assert (opened.sidecar, opened.instance, opened.number) == (sidecar_id("one"), "i1", found["id"])
    assert (opened.change, opened.kind, opened.stops) == ("opened", "lineage.opa", True)
    assert (opened.detail, opened.of) == (found["detail"], f"sha256:{found['sha256']}")
    assert (opened.opened, opened.by, opened.reason) == (None, None, None)
    [row] = rows(plane)
    assert (row.object, row.payload) == (opened_at, opened.digest)
    assert row.evidence_sha256 == sha256(plane.objects.get(opened_at)).hexdigest()

    why = {"reason": "OPA was upgraded"}
    person = api.post(f"{BREAKS}/{found['id']}/clear", json=why).json()["cleared_by"]
    break_signing.step(plane, sign_break_plain, Failed())
    cleared = said(plane)[opened_at.replace("opened", "cleared")]
    assert (cleared.change, cleared.opened) == ("cleared", opened.digest)
    assert (cleared.by, cleared.reason) == (person, "OPA was upgraded")
    before = rows(plane)
    break_signing.step(plane, lambda _: pytest.fail("everything is signed"), Failed())
    assert rows(plane) == before


def test_what_was_refused_is_signed_and_what_no_sidecar_signed_is_not(api, plane, chain):
    assert chain.send(api, chain.next(record("d0"))).status_code == 200
    late = Chain(entry=9, previous=chain.previous, byte=chain.byte)
    unsigned = late.peek(record("d9")).change()
    body = unsigned.body() | {"evidence": plain_evidence(unsigned.statement.statement(), "mallory").decode()}
    assert api.post(chain.path, json=body).status_code == 422
    assert late.send(api, late.peek(record("d9"))).json()["reason"] == "batch.gap"
    break_signing.step(plane, sign_break_plain, Failed())
    assert [one.kind for one in said(plane).values()] == ["batch.gap"]
    with plane.store.read() as session:
        assert len(session.exec(select(LineageBreak)).all()) == 2


def fails(_):
    raise PlacetError("Fulcio does not answer")


@pytest.fixture
def clock(monkeypatch):
    """Seconds, which a test lets pass."""
    passed = [1000.0]
    monkeypatch.setattr("app.control.break_signing.time.monotonic", lambda: passed[0])
    return passed


def several(api, sidecars):
    """Sidecars that stopped each; their breaks' numbers, the oldest first."""
    for name in sidecars:
        broken(api, Chain(name=name, instance=f"i-{name}"), name)
    return sorted(one["id"] for one in breaks(api))


def test_what_cannot_be_signed_is_signed_later(api, plane, chain, caplog, clock):
    broken(api, chain)
    failed = Failed()
    assert not break_signing.step(plane, fails, failed)
    assert (rows(plane), said(plane)) == ([], {})
    told = "cannot sign that break 1 of payments/one was opened; it is tried again in 2 s: Fulcio does not answer"
    assert told in caplog.messages
    break_signing.step(plane, lambda _: pytest.fail("it rests"), failed)
    clock[0] += 2
    break_signing.step(plane, fails, failed)
    assert "tried again in 4 s" in caplog.text
    clock[0] += 4
    break_signing.step(plane, sign_break_plain, failed)
    assert len(rows(plane)) == 1


def test_one_that_cannot_be_signed_keeps_no_other_waiting(api, plane, chain, clock):
    """It may be the oldest, and its clearing rests with it; the others are signed in the same round."""
    bad, *good = several(api, ["one", "two", "three"])
    api.post(f"{BREAKS}/{bad}/clear", json={"reason": "looked at it"})
    failed, tried = Failed(), []

    def sign(says):
        tried.append((says.number, says.change))
        return fails(says) if says.number == bad else sign_break_plain(says)

    break_signing.step(plane, sign, failed)
    assert tried == [(bad, "opened"), *((one, "opened") for one in good)]
    assert [row.broken for row in rows(plane)] == good
    for _ in range(20):
        clock[0] += 400
        break_signing.step(plane, sign, failed)
    assert {broken: pause for broken, (_, pause) in failed._rests.items()} == {bad: 300}
    clock[0] += 299
    break_signing.step(plane, lambda _: pytest.fail("it rests"), failed)
    clock[0] += 1
    break_signing.step(plane, sign_break_plain, failed)
    assert [(row.broken, row.change) for row in rows(plane)][-2:] == [(bad, "opened"), (bad, "cleared")]
    assert (failed._rests, failed.resting()) == ({}, [])


def test_while_nobody_answers_a_round_ends_soon_and_those_behind_have_their_turn(api, plane, chain, clock):
    numbers = several(api, ["one", "two", "three", "four"])
    failed, tried = Failed(), []

    def sign(says):
        tried.append(says.number)
        return fails(says)

    assert not break_signing.step(plane, sign, failed)
    assert not break_signing.step(plane, sign, failed)
    assert tried == numbers


def test_an_object_store_that_is_away_is_no_reason_to_sign_again_at_once(api, plane, chain, clock, monkeypatch):
    broken(api, chain)
    failed = Failed()
    with monkeypatch.context() as away:
        away.setattr(type(plane.objects), "put", fails_to_put)
        break_signing.step(plane, sign_break_plain, failed)
    assert rows(plane) == []
    assert failed.resting() == [1]


def fails_to_put(*_):
    raise Unavailable("the object store does not answer")


def test_a_story_says_that_a_break_is_not_signed_yet(api, plane, chain):
    broken(api, chain)
    key, since = Key("payments", "one", "i1", "x" * 16), now() - timedelta(hours=1)

    def told():
        with plane.store.read() as session:
            evidence = RowEvidence(session, plane.objects, plane.verify_statement)
            return [one.says.change for one in evidence.breaks(key, since, None, 9)], evidence.left_out

    assert told() == ([], ["breaks that are not signed yet"])
    break_signing.step(plane, sign_break_plain, Failed())
    assert told() == (["opened"], [])


def test_a_signature_of_somebody_else_is_not_kept(api, plane, chain, caplog):
    broken(api, chain)
    break_signing.step(plane, lambda says: plain_evidence(says.statement(), sidecar_id("one")), Failed())
    assert (rows(plane), said(plane)) == ([], {})
    assert "signed by" in caplog.text


def test_both_were_due_at_once(api, plane, chain):
    """As where the log was away for longer than a person took."""
    found = broken(api, chain)
    api.post(f"{BREAKS}/{found['id']}/clear", json={"reason": "looked at it"})
    break_signing.step(plane, sign_break_plain, Failed())
    assert [one.change for one in rows(plane)] == ["opened", "cleared"]
    assert (
        json.loads(plane.objects.get(rows(plane)[1].object))["signer"]["identity"] == f"spiffe://{DOMAIN}/control-plane"
    )


def test_two_control_planes_sign_the_same_break(api, plane, chain):
    broken(api, chain)

    def slow(says):
        evidence = plain_evidence(says.statement(), f"spiffe://{DOMAIN}/control-plane", log_index=8)
        break_signing.step(plane, sign_break_plain, Failed())  # by the other one, meanwhile
        return evidence

    break_signing.step(plane, slow, Failed())
    [row] = rows(plane)
    assert row.evidence_sha256 == sha256(plane.objects.get(row.object)).hexdigest()
