"""The demo says what it does wherever that takes long: while it starts, for each row, and while it ends."""

import sys
import time
from types import SimpleNamespace

import pytest

from app.local import tools
from app.local.demo import run
from cli import progress
from cli.main import main


class SlowDemo:
    """Starts and ends as the real one does, of which nothing is there but the time."""

    def __init__(self, say, directory):
        self.say = say

    def __enter__(self):
        for part in ("the first part", "the second part"):
            self.say(part)
            time.sleep(0.3)
        return "world"

    def __exit__(self, *exc):
        time.sleep(0.3)


def slow(world):
    time.sleep(0.3)
    return "seen"


def failing(world):
    raise ValueError("not so")


@pytest.fixture
def demo(monkeypatch, capfd):
    """`placet demo run --check` with these rows: the exit code, and the lines on stderr."""
    monkeypatch.setattr(progress, "_QUIET", 0.05)
    monkeypatch.setattr(tools, "install", lambda names, display: None)
    monkeypatch.setattr(run, "Demo", SlowDemo)
    monkeypatch.setattr(sys, "argv", ["placet", "demo", "run", "--check", "--output", "json"])

    def started(*rows):
        monkeypatch.setattr(run, "ROWS", [SimpleNamespace(title=one.__name__, show=one) for one in rows])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capfd.readouterr().err.splitlines()

    return started


def test_it_says_what_it_starts_tries_and_ends(demo):
    code, said = demo(slow)
    assert code == 0
    assert [line.partition(" (")[0] for line in said] == [
        "starting the first part",
        "still starting the first part",
        "starting the second part",
        "still starting the second part",
        "still trying: slow",
        "holds  slow  seen",
        "still ending all parts",
    ]


def test_a_row_that_fails_is_told_and_the_next_one_is_tried(demo):
    code, said = demo(failing, slow)
    assert code == 1
    assert any(line.startswith("FAILS  failing  ValueError: not so (") for line in said)
    assert said[-1] == "1 of 2 rows failed"
