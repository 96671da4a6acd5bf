import time

import pytest

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.sidecar import clock as module
from app.sidecar.clock import TOLERANCE, Clock

START = 1_800_000_000.0


class Times:
    """Both clocks, in the test's hand."""

    def __init__(self):
        self.wall, self.boot = START, 5000.0

    def pass_(self, seconds):
        self.wall += seconds
        self.boot += seconds


@pytest.fixture
def times(monkeypatch):
    times = Times()
    monkeypatch.setattr(time, "time", lambda: times.wall)
    monkeypatch.setattr(module, "boot_seconds", lambda: times.boot)
    return times


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clock"


@pytest.fixture
def clock(path, times):
    return Clock(path)


def reason(clock):
    try:
        clock.check()
    except Denied as denied:
        return denied.reason
    return None


def test_time_that_passes_is_no_doubt(clock, times):
    for _ in range(1000):
        times.pass_(3)
        clock.check()


def test_a_small_correction_is_no_doubt(clock, times):
    clock.check()
    for step in (1.9, -1.9, 0.5, -0.5):
        times.pass_(3)
        times.wall += step
        clock.check()


def test_a_clock_set_back(clock, times):
    clock.check()
    times.wall -= 10
    assert reason(clock) == Reason.CLOCK_BEHIND
    times.pass_(7)
    assert reason(clock) == Reason.CLOCK_BEHIND
    times.pass_(3)  # as late as it was before: now a signed time must agree
    assert reason(clock) == Reason.CLOCK_JUMP
    clock.compare(times.wall - 5)
    clock.check()


def test_a_clock_set_ahead(clock, times):
    clock.check()
    times.wall += 3600
    assert reason(clock) == Reason.CLOCK_JUMP
    clock.compare(times.wall - 1)
    clock.check()
    times.wall -= 3600  # set right again: behind the greatest time seen, until that is reached
    assert reason(clock) == Reason.CLOCK_BEHIND


def test_a_signed_time_does_not_heal_a_clock_that_is_behind(clock, times):
    clock.check()
    times.wall -= 100
    clock.compare(times.wall - 50)
    assert reason(clock) == Reason.CLOCK_BEHIND


def test_a_signed_time_in_the_future(clock, times):
    clock.compare(times.wall + TOLERANCE)
    with pytest.raises(Denied) as denied:
        clock.compare(times.wall + TOLERANCE + 0.1)
    assert denied.value.reason == Reason.CLOCK_BEHIND


def test_a_signed_time_in_the_future_heals_nothing(clock, times):
    clock.check()
    times.wall += 60
    assert reason(clock) == Reason.CLOCK_JUMP
    with pytest.raises(Denied):
        clock.compare(times.wall + 10)
    assert reason(clock) == Reason.CLOCK_JUMP


def test_the_greatest_time_outlives_a_restart(path, clock, times):
    times.pass_(100)
    clock.check()
    times.wall -= 50
    again = Clock(path)
    assert reason(again) == Reason.CLOCK_BEHIND
    times.pass_(50)
    assert reason(again) is None


def test_suspended_time_counts(clock, times):
    clock.check()
    times.pass_(8 * 3600)  # the boot clock goes on while the host sleeps
    assert reason(clock) is None


def test_it_is_written_now_and_then_and_privately(path, clock, times):
    clock.check()
    written = path.read_text()
    times.pass_(9)
    clock.check()
    assert path.read_text() == written
    times.pass_(2)
    clock.check()
    assert float(path.read_text()) == pytest.approx(times.wall)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["", "x", "1e", "nan", "inf"])
def test_a_damaged_file_is_not_taken_for_no_file(path, damage):
    path.write_text(damage)
    with pytest.raises(PlacetError, match="is damaged"):
        Clock(path)


def test_small_steps_back_add_up(clock, times):
    """A wall clock that is held by a second every second is noticed, though no single step is large."""
    seen = []
    for _ in range(10):
        times.pass_(1)
        times.wall -= 1
        seen.append(reason(clock))
    assert Reason.CLOCK_JUMP in seen


def test_an_undisciplined_oscillator_is_no_doubt(clock, times):
    """Two hundred parts in a million, for a day."""
    for _ in range(8640):
        times.pass_(10)
        times.wall += 0.002
        clock.check()
