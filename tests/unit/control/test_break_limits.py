"""A system bears a break for a time: the sidecar goes on until then, and stops without anybody doing anything."""

from datetime import timedelta

import pytest
from sqlmodel import select

from app.control import batch_place, break_signing, judgement, lineage
from app.control.lineage_rows import RowEvidence
from app.control.plane import Plane
from app.control.sidecar_statement import payload_of
from app.control.store import Batch, LineageBreak
from app.control.store.columns import now
from app.core.break_statement import BreakStatement
from app.core.execution_evidence import Key

from .batch_kit import Chain, sign_break_plain, verify_batch_plain
from .conftest import record, verify_plain, verify_statement_plain
from .link_kit import EXECUTION, Journal
from .test_judgement import BREAKS, OTHER_OPA, breaks, clear, limits, refused, send
from .test_sidecars import STATUS
from .test_web import logged_in, page

STATUS_PATH = "/api/v1/systems/payments/sidecars/one/status"


@pytest.fixture
def plane(signed_plane):
    return signed_plane


@pytest.fixture
def later(monkeypatch):
    """Lets so many seconds pass for the control plane."""
    passed = [timedelta(0)]
    for module in (lineage, batch_place, break_signing):
        monkeypatch.setattr(module, "now", lambda: now() + passed[0])

    def wait(seconds):
        passed[0] += timedelta(seconds=seconds)

    return wait


def gap(api, chain, entry=9, **changes):
    """A batch that does not follow, and its answer."""
    lost = Chain(entry=chain.entry + entry, previous=chain.previous, byte=chain.byte)
    made = lost.peek(record(f"lost{chain.entry + entry}")).change(**changes)
    return chain.send(api, made)


def stored(plane):
    with plane.store.read() as session:
        return [row.first_entry for row in session.exec(select(Batch).order_by(Batch.id))]


def told(answer, reason="batch.gap"):
    """The seconds that the sidecar is told, and of which break."""
    assert (answer.status_code, answer.json()["reason"]) == (409, reason), answer.text
    return answer.json()["break"], answer.json()["stops_in_seconds"]


def test_a_gap_that_is_borne_for_a_time_is_kept_and_told_and_stops_the_sidecar_then(api, plane, chain, later):
    limits(api, gap="15m")
    assert send(api, chain).status_code == 200
    number, left = told(gap(api, chain))
    assert 898 <= left <= 900
    [found] = breaks(api)
    assert (found["id"], found["kind"], found["stops"]) == (number, "batch.gap", True)
    assert plane.objects.get(found["object"])
    assert found["opened_at"] < found["stops_at"]
    assert api.post(STATUS_PATH, json=STATUS).json()["lineage"]["break"] == number
    assert stored(plane) == [0], "nothing that does not follow is stored"

    # What follows is taken: nothing of it is doubted.
    assert send(api, chain).status_code == 200
    later(890)
    assert send(api, chain).status_code == 200
    again, left = told(gap(api, chain, entry=20))
    assert (again, left <= 10) == (number, True), "a later one gives no more time"
    assert len(breaks(api)) == 1
    later(11)
    refused(send(api, chain))
    refused(gap(api, chain))
    refused(api.post(STATUS_PATH, json=STATUS))
    assert stored(plane) == [0, 1, 2]
    clear(api, found)
    assert send(api, chain).status_code == 200
    assert api.post(STATUS_PATH, json=STATUS).json()["lineage"] is None


def test_at_once_is_what_is_not_said_otherwise(api, chain):
    assert send(api, chain).status_code == 200
    answer = gap(api, chain)
    assert answer.json()["reason"] == "batch.gap"
    assert "stops_in_seconds" not in answer.json()
    [found] = breaks(api)
    assert (found["stops"], found["stops_at"]) == (True, None)
    refused(send(api, chain))


def test_a_fork_of_another_instance_is_a_break_of_its_own_and_the_first_one_stops_both(api, chain, later):
    limits(api, gap="2m", fork="10m")
    assert send(api, chain).status_code == 200
    number, _ = told(gap(api, chain))
    later(60)
    new = Chain(instance="i2", file="000002.log")
    assert new.send(api, new.next(record("of-i2"))).status_code == 200
    answer = send(api, chain)  # the older one goes on beside it
    assert told(answer, "batch.fork") == (number, told(answer, "batch.fork")[1])
    assert told(answer, "batch.fork")[1] <= 60
    assert sorted(one["kind"] for one in breaks(api)) == ["batch.fork", "batch.gap"]
    later(61)
    refused(new.send(api, new.peek(record("of-i2-too"))))
    [fork] = [one for one in breaks(api) if one["kind"] == "batch.fork"]
    clear(api, next(one for one in breaks(api) if one["kind"] == "batch.gap"))
    assert new.send(api, new.next(record("of-i2-three"))).status_code == 200, "the fork has time left"
    later(540)
    refused(new.send(api, new.peek(record("of-i2-four"))))
    clear(api, fork)


def test_what_was_tampered_with_stops_at_once_whatever_the_limits_are(api, chain):
    limits(api, gap="7d", fork="7d", repeat="7d", clock="7d", opa="7d", dropped="7d")
    assert send(api, chain).status_code == 200
    told(gap(api, chain))
    answer = chain.send(api, chain.peek(record("d1")).change(root="0" * 64))
    assert (answer.json()["reason"], "stops_in_seconds" in answer.json()) == ("batch.root", False)
    refused(send(api, chain))


def test_a_shorter_limit_counts_from_the_next_one_on(api, chain):
    limits(api, gap="1d")
    assert send(api, chain).status_code == 200
    number, _ = told(gap(api, chain))
    limits(api, gap="1m")
    shorter, left = told(gap(api, chain))
    assert (shorter > number, left <= 60) == (True, True)
    limits(api, gap="at-once")
    assert "stops_in_seconds" not in gap(api, chain).json()
    refused(send(api, chain))


@pytest.mark.parametrize(
    ("kind", "says"),
    [("opa", {"opa": OTHER_OPA}), ("dropped", {"dropped": 2}), ("clock", {"closed_at": None})],
)
def test_what_a_batch_says_against_its_sidecar_may_be_borne_for_a_time(api, plane, chain, later, kind, says):
    limits(api, **{kind: "1h"})
    assert send(api, chain).status_code == 200
    if kind == "clock":
        says = {"closed_at": chain.closed_at - timedelta(seconds=9)}
    assert send(api, chain, **says).status_code == 200
    later(1800)
    for _ in range(3):
        assert send(api, chain, **says).status_code == 200
    first = breaks(api)[-1]
    assert (first["kind"], first["stops"]) == (f"lineage.{kind}", True)
    left = api.post(STATUS_PATH, json=STATUS).json()["lineage"]
    assert (left["break"], left["stops_in_seconds"] <= 1800) == (first["id"], True), "a later one gives no more time"
    later(1801)
    refused(send(api, chain, **says))


def test_those_that_are_borne_for_a_time_are_kept_within_bounds(api, plane, chain, later, monkeypatch):
    monkeypatch.setattr(judgement, "MAX_KEPT", 2)
    limits(api, dropped="never")
    for _ in range(3):
        assert send(api, chain, dropped=1).status_code == 200
    limits(api, dropped="5m")
    for _ in range(3):
        assert send(api, chain, dropped=1).status_code == 200
    assert [one["stops"] for one in breaks(api)] == [True, False, False], (
        "the one that stops it, however many there are"
    )
    later(301)
    refused(send(api, chain))


@pytest.mark.parametrize("limit", [2, "10m"])
def test_repeats_may_be_borne_a_number_of_times_or_for_a_time(api, chain, later, limit):
    limits(api, repeat=limit)
    for raw in (record("a"), record("b"), record("a"), record("c")):
        assert chain.send(api, chain.next(raw)).status_code == 200
    assert [one["kind"] for one in breaks(api)] == ["lineage.repeat"]
    if limit == 2:
        assert chain.send(api, chain.next(record("b"))).status_code == 200
    later(601)
    refused(chain.send(api, chain.peek(record("d"))))


def test_a_journal_with_a_gap_has_the_same_time(api, chain, later):
    limits(api, gap="5m")
    journal = Journal()
    first = journal.start()
    second, third = journal.step(), journal.step()
    assert journal.send(api, first).status_code == 200
    number, left = told(journal.send(api, third), "link.gap")
    assert 298 <= left <= 300
    assert journal.send(api, second).status_code == 200, "it was overtaken"
    later(301)
    answer = journal.send(api, third)
    refused(answer)
    clear(api, {"id": number})
    assert journal.send(api, third).status_code == 200


def test_it_stops_after_a_restart_of_the_control_plane_too(api, plane, chain, later):
    limits(api, gap="5m")
    assert send(api, chain).status_code == 200
    told(gap(api, chain))
    other = Plane.open(plane.settings, verify_plain, verify_statement_plain, verify_batch=verify_batch_plain)
    later(301)
    with other.store.read() as session:
        assert lineage.open_break(session, "payments", "one").kind == "batch.gap"
        assert lineage.open_break(session, "payments", "two") is None
    break_signing.step(other, sign_break_plain, break_signing.Failed())
    assert [one.change for one in said(plane)] == ["opened", "stopped"]
    other.close()


def said(plane):
    found = [BreakStatement.read(payload_of(plane.objects.get(key))) for key, _ in plane.objects.keys("breaks")]
    return sorted(found, key=lambda one: (one.number, one.change != "opened", one.change != "stopped"))


def test_what_is_said_of_it_is_signed_when_it_is_opened_when_it_stops_and_when_it_is_cleared(api, plane, chain, later):
    limits(api, gap="5m")
    assert send(api, chain).status_code == 200
    number, _ = told(gap(api, chain))
    break_signing.step(plane, sign_break_plain, break_signing.Failed())
    [opened] = said(plane)
    assert (opened.change, opened.stops, opened.stops_at - opened.at) == ("opened", True, timedelta(minutes=5))
    later(200)
    break_signing.step(plane, lambda _: pytest.fail("it has not stopped yet"), break_signing.Failed())
    later(101)
    break_signing.step(plane, sign_break_plain, break_signing.Failed())
    _, stopped = said(plane)
    assert (stopped.change, stopped.at, stopped.opened) == ("stopped", opened.stops_at, opened.digest)
    assert (stopped.by, stopped.reason) == (None, None)
    clear(api, {"id": number})
    break_signing.step(plane, sign_break_plain, break_signing.Failed())
    assert [one.change for one in said(plane)] == ["opened", "stopped", "cleared"]
    assert said(plane)[2].stops_at == opened.stops_at


def test_what_is_cleared_in_time_never_stopped(api, plane, chain, later):
    limits(api, gap="5m")
    assert send(api, chain).status_code == 200
    number, _ = told(gap(api, chain))
    clear(api, {"id": number})
    later(301)
    break_signing.step(plane, sign_break_plain, break_signing.Failed())
    assert [one.change for one in said(plane)] == ["opened", "cleared"]
    assert send(api, chain).status_code == 200


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"clock": 0}, "at-once, never, a number from 1 to 1000, or a time from 1s to 7d, such as 15m"),
        ({"clock": -1}, "a number from 1 to 1000"),
        ({"clock": 1001}, "a number from 1 to 1000"),
        ({"clock": True}, "a number from 1 to 1000"),
        ({"clock": "sometimes"}, "at-once, never"),
        ({"clock": "8d"}, "a time from 1s to 7d"),
        ({"clock": "0s"}, "a time from 1s to 7d"),
        ({"clock": ["1m"]}, "a time from 1s to 7d"),
        ({"clock": {"at-once": 1}}, "a time from 1s to 7d"),
        ({"repeat": "never"}, "must be at-once, a number from 1 to 1000, or a time"),
        ({"gap": 3}, "must be at-once or a time from 1s to 7d"),
        ({"fork": "never"}, "must be at-once or a time"),
        ({"root": "15m"}, "limits are of clock, opa, dropped, repeat, gap and fork"),
    ],
)
def test_odd_limits_are_refused(api, chain, given, detail):
    answer = limits(api, **given)
    assert answer.status_code == 422
    assert detail in answer.json()["detail"], answer.text


def test_the_list_and_the_page_say_until_when_a_sidecar_goes_on(api, anonymous, plane, chain):
    limits(api, gap="5m")
    assert send(api, chain).status_code == 200
    told(gap(api, chain))
    with plane.store.read() as session:
        [row] = session.exec(select(LineageBreak))
    assert row.stops_at.microsecond == 0
    assert row.stops_at - row.opened_at <= timedelta(minutes=5), "never longer than the limit"
    assert api.get(BREAKS).json()[0]["stops_at"] == row.stops_at.isoformat()
    text = page(logged_in(anonymous, api.token), "/sidecars").text
    assert "goes on until" in text
    limits(api, gap="at-once")
    gap(api, chain)
    assert "stands still since" in page(logged_in(anonymous, api.token), "/sidecars").text


def test_a_sidecar_that_invents_instances_fills_nothing(api, plane, chain, later, monkeypatch):
    monkeypatch.setattr(lineage, "MAX_BORNE", 3)

    def invented(number):
        lost = Chain(instance=f"made-up-{number}", entry=9, previous="sha256:" + "1" * 64, byte=900)
        return lost.send(api, lost.peek(record(f"lost{number}")))

    limits(api, gap="7d")
    for number in range(6):
        assert told(invented(number))[0] == breaks(api)[-1]["id"], "the first of them is the next to stop it"
    assert len(breaks(api)) == 3
    limits(api, gap="1h")
    assert told(invented(6))[1] <= 3600, "one that stops it sooner is kept, however many there are"
    later(3601)
    refused(send(api, chain))


def test_what_was_borne_when_an_execution_started_is_told_of_it(api, plane, chain):
    def breaks_of(since):
        with plane.store.read() as session:
            source = RowEvidence(session, plane.objects, plane.verify_batch)
            found = source.breaks(Key("payments", "one", "i1", EXECUTION), since, None, 9)
            return [one.says.change for one in found], source.left_out

    limits(api, gap="15m")
    assert send(api, chain).status_code == 200
    number, _ = told(gap(api, chain))
    later_on = now() + timedelta(seconds=60)
    assert breaks_of(later_on) == ([], ["breaks that are not signed yet"])
    break_signing.step(plane, sign_break_plain, break_signing.Failed())
    assert breaks_of(later_on) == (["opened"], [])
    clear(api, {"id": number})
    assert breaks_of(later_on) == (["opened"], []), "its clearing is not signed yet"
    break_signing.step(plane, sign_break_plain, break_signing.Failed())
    assert breaks_of(later_on) == ([], [])
    assert breaks_of(now() - timedelta(seconds=60)) == (["opened", "cleared"], [])
