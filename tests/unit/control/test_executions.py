"""Redemption: all or nothing, never once more than allowed, whoever asks at the same time."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import select

from app.control.store import Execution, Redemption
from app.control.store.columns import now

from .warrant_kit import ISSUER, ask, counted, prepared, reason, redemption, start

EXECUTIONS = "/api/v1/systems/payments/executions"


@pytest.fixture
def api(api):
    return prepared(api)


def used(plane):
    with plane.store.read() as session:
        return {row.jti: row.used for row in session.exec(select(Redemption))}


def own(api, uses):
    """A warrant of this control plane, as a sidecar reads it."""
    identifier = ask(api, uses=uses).json()["id"]
    claims = api.get(f"/api/v1/systems/payments/warrants/{identifier}").json()["claims"]
    return counted(identifier, claims["iss"], claims["uses"], claims["exp"])


def test_each_execution_uses_a_warrant_once_until_it_is_spent(api, plane):
    warrant = own(api, uses=2)
    first = start(api, warrant, execution="e-1")
    assert first.status_code == 201, first.text
    assert first.json()["execution"] == "e-1"
    assert first.json()["warrants"] == [warrant]
    shown = api.get("/api/v1/systems/payments/warrants").json()["items"][0]
    assert (shown["uses"], shown["uses_left"]) == (2, 1)
    assert start(api, warrant).status_code == 201
    assert reason(start(api, warrant)) == (409, "warrant.spent")
    assert used(plane) == {warrant["jti"]: 2}
    assert len(api.get(EXECUTIONS).json()["items"]) == 2, "what was refused left nothing"


def test_the_same_again_within_a_minute_is_confirmed_without_counting(api, plane):
    warrant = counted()
    body = redemption(warrant, execution="e-1")
    assert api.post(EXECUTIONS, json=body).status_code == 201
    assert api.post(EXECUTIONS, json=body).status_code == 200
    assert used(plane) == {"w1": 1}
    with plane.store.write() as session:
        row = session.get_one(Execution, ("payments", "e-1"))
        row.started_at = now() - timedelta(seconds=61)
        session.add(row)
    assert reason(api.post(EXECUTIONS, json=body)) == (409, "execution.conflict")
    assert used(plane) == {"w1": 1}


def test_an_id_that_is_taken_is_a_conflict_whatever_differs(api, plane):
    warrant = counted(uses=9)
    assert start(api, warrant, execution="e-1").status_code == 201
    for change in (
        {"sidecar": "two"},
        {"instance": "i2"},
        {"subject": {"issuer": ISSUER, "id": "job-18"}},
        {"subject": {"issuer": "https://other.example.org", "id": "job-17"}},
    ):
        assert reason(start(api, warrant, execution="e-1", **change)) == (409, "execution.conflict"), change
    assert reason(start(api, counted("w2"), execution="e-1")) == (409, "execution.conflict")
    assert reason(start(api, warrant, counted("w2"), execution="e-1")) == (409, "execution.conflict")
    assert used(plane) == {"w1": 1}
    api.create_system("ledger")
    assert start(api, counted("w3"), execution="e-1", system="ledger").status_code == 201, "ids are each system's own"


def test_all_warrants_of_a_chain_are_counted_or_none(api, plane):
    root, hop = counted("root", uses=5), counted("hop", issuer="job-17", uses=1)
    assert start(api, root, hop).status_code == 201
    assert reason(start(api, root, hop)) == (409, "warrant.spent")
    assert used(plane) == {"root": 1, "hop": 1}, "the root was not counted for a start that failed"
    assert start(api, root).status_code == 201
    assert reason(start(api, root, root)) == (409, "execution.conflict")


def test_counts_are_by_issuer_and_id(api, plane):
    one = counted("same", issuer="a")
    assert start(api, one).status_code == 201
    assert start(api, {**one, "issuer": "b"}).status_code == 201
    assert start(api, {**one, "jti": "sam", "issuer": "ea"}).status_code == 201, "no concatenation passes for another"
    assert reason(start(api, one)) == (409, "warrant.spent")


def test_a_warrant_seen_with_other_uses_or_another_expiry_is_a_conflict(api, plane):
    first = counted(uses=3)
    assert start(api, first).status_code == 201
    assert reason(start(api, {**first, "uses": 4})) == (409, "execution.conflict")
    assert reason(start(api, {**first, "expires_at": first["expires_at"] + 1})) == (409, "execution.conflict")
    assert used(plane) == {"w1": 1}


def test_our_own_warrants_count_only_as_we_issued_them(api):
    warrant = own(api, uses=2)
    for wrong in ({"uses": 3}, {"expires_at": warrant["expires_at"] + 1}, {"jti": "made-up"}):
        assert reason(start(api, {**warrant, **wrong})) == (403, "warrant.invalid"), wrong
    api.create_system("ledger")
    assert reason(start(api, warrant, system="ledger")) == (403, "warrant.invalid")
    assert start(api, warrant).status_code == 201


def test_what_was_revoked_or_has_expired_starts_nothing(api, plane):
    warrant, hop = own(api, uses=2), counted("hop", issuer="job-17")
    body = redemption(warrant, execution="e-1")
    assert api.post(EXECUTIONS, json=body).status_code == 201
    api.delete(f"/api/v1/systems/payments/warrants/{warrant['jti']}")
    assert reason(start(api, warrant)) == (403, "warrant.revoked")
    assert reason(api.post(EXECUTIONS, json=body)) == (403, "warrant.revoked"), "not even a repeat"
    api.delete("/api/v1/systems/payments/warrants/hop", params={"expires_at": hop["expires_at"]})
    assert reason(start(api, hop)) == (403, "warrant.revoked")
    assert reason(start(api, counted("old", expires_at=int(time.time()) - 10))) == (403, "warrant.expired")
    assert used(plane) == {warrant["jti"]: 1}


def test_counts_are_forgotten_only_when_the_warrant_can_no_longer_be_used(api, plane):
    warrant = counted("old")
    assert start(api, warrant).status_code == 201

    def expired(ago):
        with plane.store.write() as session:
            row = session.exec(select(Redemption).where(Redemption.jti == "old")).one()
            row.expires_at = now() - ago
            session.add(row)
        assert start(api, counted(f"other-{ago.seconds}")).status_code == 201
        return "old" in used(plane)

    assert expired(timedelta(minutes=59))
    assert not expired(timedelta(minutes=61))


MALFORMED = [
    {"warrants": []},
    {"warrants": [counted(f"w{number}") for number in range(10)]},
    {"warrants": [{**counted(), "uses": 0}]},
    {"warrants": [{**counted(), "uses": 2**53}]},
    {"warrants": [{**counted(), "expires_at": 10**15}]},
    {"warrants": [{**counted(), "jti": "a b"}]},
    {"warrants": [{**counted(), "issuer": "a\0"}]},
    {"execution": ""},
    {"execution": "x" * 129},
    {"execution": "a\nb"},
    {"sidecar": "Not a name"},
    {"subject": {"issuer": "i"}},
    {"more": 1},
]


def test_malformed_starts_are_refused_and_spend_nothing(api, plane):
    for changes in MALFORMED:
        body = redemption(counted(), execution="e-1") | changes
        assert api.post(EXECUTIONS, json=body).status_code == 422, changes
    assert used(plane) == {}


def test_scopes_and_systems(api):
    assert start(api.with_token("warrant:issue", "warrant:read"), counted()).status_code == 403
    api.create_system("ledger")
    bound = api.with_token("execution:write", system="payments")
    assert start(bound, counted()).status_code == 201
    assert start(bound, counted("w2"), system="ledger").status_code == 403
    assert start(api, counted("w2"), system="none").status_code == 404
    assert bound.get(EXECUTIONS).status_code == 403


def test_executions_are_listed_newest_first_in_pages(api):
    for number in range(5):
        start(api, counted(f"w{number}"), execution=f"e-{number}")
    first = api.get(f"{EXECUTIONS}?limit=3").json()
    rest = api.get(f"{EXECUTIONS}?limit=3&cursor={first['next']}").json()
    assert [one["execution"] for one in first["items"] + rest["items"]] == [f"e-{n}" for n in (4, 3, 2, 1, 0)]
    assert rest["next"] is None


# ---- at the same time --------------------------------------------------------------------------------------


def test_many_threads_never_use_a_warrant_once_too_often(api, plane):
    """40 starts at once with warrants of 7 and 11 uses, in both orders, so that they would wait in a circle."""
    one, two = counted("one", uses=7), counted("two", uses=11)
    barrier = threading.Barrier(8)

    def attempt(number):
        barrier.wait(timeout=30)
        return [start(api, *((one, two) if (number + turn) % 2 else (two, one))) for turn in range(5)]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for several in pool.map(attempt, range(8)) for answer in several]
    outcomes = sorted(reason(answer) for answer in answers if answer.status_code != 201)
    assert len(answers) - len(outcomes) == 7
    assert outcomes == [(409, "warrant.spent")] * 33
    assert used(plane) == {"one": 7, "two": 7}


def test_the_same_start_many_times_at_once_is_counted_once(api, plane):
    body = redemption(counted(uses=5), execution="e-1")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.post(EXECUTIONS, json=body), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert used(plane) == {"w1": 1}


_SIDECAR = """
import json, sys
from app.control import executions
from app.control.executions import Counted, Start
from app.control.plane import Plane
from app.control.problems import Problem
from app.control.settings import Settings
from app.control.tokens import Access, Scope
from pathlib import Path

directory, name, until, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
plane = Plane.open(Settings.load(Path(directory)), None)
by = Access(name, name, frozenset({Scope.EXECUTION_WRITE}), None)
warrants = (Counted("shared", "partner", 10, until),)
print("ready", flush=True)
sys.stdin.readline()
outcomes = []
for number in range(rounds):
    start = Start("payments", f"{name}-{number}", name, "i1", "issuer", "job-17", warrants)
    try:
        with plane.store.write() as session:
            executions.start(session, by, plane.settings.domain, start)
        outcomes.append("started")
    except Problem as problem:
        outcomes.append(problem.members["reason"])
print(json.dumps(outcomes))
"""


def test_two_control_plane_processes_cannot_both_redeem(api, plane, installed):
    """Three processes on one database, with 10 uses between them: exactly 10 starts."""
    until = str(int(time.time()) + 600)
    command = [sys.executable, "-c", _SIDECAR, str(installed.directory)]
    processes = [
        subprocess.Popen(
            [*command, name, until, "8"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two", "three")
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        outcomes = []
        for process in processes:
            output, complaint = process.communicate(timeout=120)
            assert process.returncode == 0, complaint
            outcomes += json.loads(output)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sorted(outcomes) == ["started"] * 10 + ["warrant.spent"] * 14
    assert used(plane) == {"shared": 10}
