"""One subject cannot take the lease of all by executions that end."""

import time

import pytest

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar.ended_executions import NAMED, EndedExecutions
from app.sidecar.trust_state import Local, compose

PUBLISHED = {"quarantine": {"subjects": {}, "executions": {}}, "environment": {}, "issuers": {}}
MANY, OTHER = ("i", "many"), ("i", "other")


@pytest.fixture
def ended():
    return EndedExecutions(lambda: 117_000)


def test_many_stopped_executions_of_one_subject_are_named_by_it(ended):
    ended.add("b" * 64, "completed", OTHER)
    for number in range(3000):
        ended.add(f"{number:064d}", "stopped", MANY)
    ended.require_room(OTHER)
    assert ended.named() == {"b" * 64: "completed"}
    assert list(ended.blocked()["i"]) == ["many"]
    assert ended.outcome(f"{2999:064d}") == "stopped"
    published = {**PUBLISHED, "quarantine": {"subjects": {"i": {"far": {}}}, "executions": {}}}
    trust = compose(published, Local("spiffe://d/a", ended=ended.named(), blocked=ended.blocked())).trust
    assert set(trust["quarantine"]["subjects"]["i"]) == {"far", "many"}


def test_stops_of_many_subjects_that_do_not_fit_are_named_by_their_subjects():
    ended = EndedExecutions(lambda: 10_000)
    for number in range(400):
        ended.add(f"{number:064d}", "stopped", ("i", str(number % 20)))
    assert ended.blocked()
    assert sum(len(one) + 20 for one in ended.named()) < 12_000


def test_ends_of_one_subject_leave_room_for_others(ended):
    for number in range(1000):
        ended.add(f"{number:064d}", "failed", MANY)
    with pytest.raises(Denied) as denied:
        ended.require_room(MANY)
    assert denied.value.reason == Reason.LINEAGE_UNAVAILABLE
    ended.require_room(OTHER)
    assert not ended.blocked()


def test_a_subject_is_blocked_as_long_as_what_was_stopped_may_go_on(ended, monkeypatch):
    for number in range(3000):
        ended.add(f"{number:064d}", "stopped", MANY)
    ended._forgot, later = 0.0, time.time() + NAMED + 1
    assert ended.blocked()
    monkeypatch.setattr(time, "time", lambda: later)
    ended._forgot = float("-inf")
    assert ended.blocked() == {}
    assert ended.named() == {}


def test_few_that_were_stopped_before_a_restart_block_nobody():
    ended = EndedExecutions(lambda: 0)  # no trust state was made yet
    for number in range(50):
        ended.add(f"{number:064d}", "stopped", MANY)
    assert not ended.blocked()
