"""A release that was refused: for good when the release is at fault, for a while when the host was only too busy.

A busy host cannot be had at will, so what prepares releases, OPA and time are doubles here.
"""

from types import SimpleNamespace

import pytest

from app.core.errors import Denied, TooSlow
from app.core.reason_codes import Reason
from app.core.targets import ChannelPointer
from app.sidecar import rollout as module
from app.sidecar.rollout import Rollout

POINTER, NEXT = (
    ChannelPointer(
        system="payments", channel="live", sequence=sequence, release=f"sha256:{letter * 64}", horizon_seconds=60
    )
    for sequence, letter in enumerate("ab", start=1)
)
SLOW = TooSlow(Reason.ACTIVATION_SLOW, "takes 1.6 s to activate")
DAMAGED = Denied(Reason.METADATA_INVALID, "bundle.tar.gz: observed hash does not match")
BAD = Denied(Reason.EVIDENCE_INVALID, "the signature is of other bytes")


class Releases:
    """Refuses with each of `denials` in turn, then prepares."""

    def __init__(self, *denials):
        self.denials, self.asked_at = list(denials), []

    def prepare(self, pointer, get):
        self.asked_at.append(module.boot_seconds())
        if self.denials:
            raise self.denials.pop(0)
        return SimpleNamespace(
            pointer=pointer,
            release=SimpleNamespace(digest=pointer.release),
            composed=SimpleNamespace(revision="composed"),
        )


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(module, "boot_seconds", lambda: now.seconds)
    return now


@pytest.fixture
def begin(tmp_path, clock):
    def begin(*denials, enforced_before=False, active="composed", error=None):
        releases = Releases(*denials)
        api = SimpleNamespace(status=lambda: SimpleNamespace(active_revision=active, error=error))
        keeper = SimpleNamespace(acceptable=frozenset(), process=SimpleNamespace(api=api))
        repository = SimpleNamespace(
            download=None,
            stored=None,
            forget_releases=lambda but: None,
            described=lambda release: ("bundle", "evidence"),
        )
        server = SimpleNamespace(offer=lambda composed: None)
        file = tmp_path / "enforced.json"
        if enforced_before:
            file.write_bytes(POINTER.encode())
        rollout = Rollout(releases, repository, server, keeper, file)
        rollout.wanted = POINTER
        return rollout, releases

    return begin


def run(rollout, clock, seconds):
    end = clock.seconds + seconds
    while clock.seconds < end:
        rollout.step()
        clock.seconds += 0.5


@pytest.mark.parametrize("enforced_before", [False, True])
def test_what_was_too_slow_once_is_enforced_when_the_host_is_less_busy(begin, clock, enforced_before):
    """Also after a restart: what was in force before is the very release that the busy host could not rehearse."""
    rollout, _ = begin(SLOW, enforced_before=enforced_before)
    run(rollout, clock, 4)
    assert (rollout.enforced, rollout.failure) == (None, SLOW)
    run(rollout, clock, 4)
    assert rollout.enforced.pointer == POINTER
    assert rollout.failure is None


def test_each_trial_waits_twice_as_long_up_to_a_bound(begin, clock):
    rollout, releases = begin(*[SLOW] * 2000)
    run(rollout, clock, 3600)
    waits = [round(later - sooner) for sooner, later in zip(releases.asked_at, releases.asked_at[1:], strict=False)]
    assert waits[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert set(waits[8:]) == {300}


def test_what_is_at_fault_itself_is_not_asked_again(begin, clock):
    rollout, releases = begin(BAD)
    run(rollout, clock, 3600)
    assert len(releases.asked_at) == 1
    assert (rollout.enforced, rollout.failure) == (None, BAD)


def test_files_that_arrived_damaged_are_fetched_again(begin, clock):
    rollout, _ = begin(DAMAGED)
    run(rollout, clock, 4)
    assert (rollout.enforced, rollout.failure) == (None, DAMAGED)
    run(rollout, clock, 4)
    assert rollout.enforced.pointer == POINTER


def test_what_got_the_evidence_that_it_lacked_is_asked_again(begin, clock, monkeypatch):
    rollout, _ = begin(BAD)
    run(rollout, clock, 3)
    assert rollout.enforced is None
    monkeypatch.setattr(rollout._repository, "described", lambda release: ("bundle", "more evidence"))
    run(rollout, clock, 2)
    assert rollout.enforced.pointer == POINTER


def test_another_pointer_is_tried_at_once_and_its_own_waits_begin_anew(begin, clock):
    rollout, releases = begin(SLOW, SLOW, SLOW, SLOW)
    run(rollout, clock, 16)
    rollout.wanted = NEXT
    run(rollout, clock, 6)
    assert [at - 1000 for at in releases.asked_at] == [0, 5, 15, 16, 21]
    assert rollout.enforced.pointer == NEXT


def test_an_opa_that_does_not_activate_within_its_limit_is_offered_the_release_again(begin, clock):
    rollout, releases = begin(active="")
    run(rollout, clock, 75)
    assert len(releases.asked_at) == 2
    assert rollout.failure.reason == Reason.ACTIVATION_FAILED
