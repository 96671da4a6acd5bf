import threading

import pytest

from app.core.reason_codes import Reason
from app.sidecar import doubts as module
from app.sidecar.doubts import Doubts


class Watch:
    """The boot clock, in the test's hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def watch(monkeypatch):
    watch = Watch()
    monkeypatch.setattr(module, "boot_seconds", watch)
    return watch


@pytest.fixture
def changes():
    return []


@pytest.fixture
def doubts(watch, changes):
    return Doubts({"opa": 5.0, "records": 3.0}, lambda: changes.append(watch.now))


def reasons(doubts):
    return {doubt.concern: doubt.reason for doubt in doubts.current()}


def test_nothing_is_believed_before_it_was_checked(doubts):
    assert reasons(doubts) == {"opa": Reason.AGENT_PAUSED, "records": Reason.AGENT_PAUSED}


def test_every_concern_must_be_vouched_for(doubts):
    doubts.vouch("opa")
    assert reasons(doubts) == {"records": Reason.AGENT_PAUSED}
    doubts.vouch("records")
    assert doubts.current() == []


def test_a_vouch_grows_old(doubts, watch):
    doubts.vouch("opa")
    doubts.vouch("records")
    watch.now += 3.0
    assert doubts.current() == []
    watch.now += 0.001
    [old] = doubts.current()
    assert (old.concern, old.reason, old.detail) == ("records", Reason.AGENT_PAUSED, "last checked 3.0 s ago")
    watch.now += 3600  # a paused agent that goes on: nothing that it knew before counts
    assert reasons(doubts) == {"opa": Reason.AGENT_PAUSED, "records": Reason.AGENT_PAUSED}


def test_a_doubt_stands_until_it_is_vouched_against(doubts, watch):
    doubts.vouch("records")
    doubts.vouch("opa")
    doubts.doubt("opa", Reason.OPA_STOPPED, "x")
    watch.now += 2
    doubts.vouch("records")
    assert reasons(doubts) == {"opa": Reason.OPA_STOPPED}
    doubts.vouch("opa")
    assert doubts.current() == []


def test_a_check_that_goes_on_prolongs_what_holds_and_ends_no_doubt(doubts, watch):
    doubts.prolong("opa")
    assert reasons(doubts)["opa"] == Reason.AGENT_PAUSED, "nobody vouched yet"
    doubts.vouch("opa")
    doubts.vouch("records")
    for _ in range(3):
        watch.now += 4.0
        doubts.prolong("opa")
        assert "opa" not in reasons(doubts)
    watch.now += 5.1
    doubts.prolong("opa")
    assert reasons(doubts)["opa"] == Reason.AGENT_PAUSED, "a pause is not bridged"
    doubts.vouch("opa")
    doubts.doubt("opa", Reason.OPA_STOPPED, "dead")
    doubts.prolong("opa")
    assert reasons(doubts)["opa"] == Reason.OPA_STOPPED


def test_a_new_doubt_is_told_at_once_and_a_repeated_one_is_not(doubts, changes):
    doubts.vouch("opa")
    doubts.doubt("opa", Reason.OPA_STOPPED, "x")
    doubts.doubt("opa", Reason.OPA_STOPPED, "y")
    assert len(changes) == 1
    assert [doubt.detail for doubt in doubts.current() if doubt.concern == "opa"] == ["y"]
    doubts.doubt("opa", Reason.OPA_API_OPEN, "z")
    assert len(changes) == 2


def test_whoever_is_told_may_look(watch):
    """The lease looks at the doubts from the thread that raised one: that must not lock."""
    seen = []
    doubts = Doubts({"opa": 5.0}, lambda: seen.append(doubts.current()))
    doubts.vouch("opa")
    thread = threading.Thread(target=doubts.doubt, args=("opa", Reason.OPA_STOPPED, "x"), daemon=True)
    thread.start()
    thread.join(5)
    assert seen[0][0].reason == Reason.OPA_STOPPED


def test_the_boot_clock_is_the_one_that_counts_suspended_time():
    import time

    assert abs(module.boot_seconds() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1
