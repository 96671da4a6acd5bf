"""`placet lineage monitor` against those who answer as slowly as they like."""

import signal
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from app.core.log_source import LogUnavailable
from cli.deadline import within
from cli.lineage_monitor import _Look
from cli.output import Output


def test_a_look_ends_at_its_deadline_whatever_takes_it_for_an_error_of_its_own():
    before = signal.getsignal(signal.SIGALRM)
    begun = time.monotonic()

    def stubborn():
        with within(0.1, LogUnavailable("late (--deadline)")):
            while time.monotonic() - begun < 30:
                with suppress(Exception):
                    time.sleep(0.2)

    with pytest.raises(LogUnavailable, match="--deadline") as caught:
        stubborn()
    assert caught.value.exit_code == 1 and time.monotonic() - begun < 20
    assert signal.getsignal(signal.SIGALRM) is before
    with within(0.1, LogUnavailable("late (--deadline)")):
        pass
    time.sleep(0.2)


def test_a_look_that_is_too_long_says_so_and_saves_nothing(tmp_path):
    slow = SimpleNamespace(trust=None, look=lambda state, full: time.sleep(30))
    look = _Look(slow, tmp_path / "state.json", None, False, Output.TABLE, 0.1)
    begun = time.monotonic()
    with pytest.raises(LogUnavailable, match="--deadline"):
        look(False)
    assert time.monotonic() - begun < 20 and list(tmp_path.iterdir()) == []
