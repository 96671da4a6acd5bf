"""Progress of work that tells nothing itself: silence where it is quick, a line on stderr where it is not."""

import io
import time

import pytest
from rich.console import Console

from cli import output, progress


@pytest.fixture
def stderr(monkeypatch):
    """What goes to stderr, as to a file or to a terminal."""

    def to(*, terminal):
        said = io.StringIO()
        console = Console(file=said, force_terminal=terminal, highlight=False, soft_wrap=True)
        monkeypatch.setattr(progress, "messages", console)
        monkeypatch.setattr(output, "messages", console)
        return said

    return to


def until(said, text):
    deadline = time.monotonic() + 30
    while text not in said.getvalue():
        assert time.monotonic() < deadline, said.getvalue()
        time.sleep(0.01)


@pytest.mark.parametrize("terminal", [False, True])
def test_quick_work_is_silent(stderr, monkeypatch, terminal):
    for name in ("_QUIET", "_BETWEEN_LINES"):
        monkeypatch.setattr(progress, name, 600)
    said = stderr(terminal=terminal)
    with progress.busy("testing"):
        pass
    assert said.getvalue() == ""


def test_long_work_is_told_first_after_two_seconds_and_then_now_and_then(stderr, monkeypatch):
    assert progress._QUIET == 2
    monkeypatch.setattr(progress, "_QUIET", 0.05)
    said = stderr(terminal=False)
    with progress.busy("testing"):
        until(said, "still testing\n")
        time.sleep(0.2)
    assert said.getvalue() == "still testing\n"


def test_long_work_is_told_now_and_then(stderr, monkeypatch):
    for name in ("_QUIET", "_BETWEEN_LINES"):
        monkeypatch.setattr(progress, name, 0.05)
    said = stderr(terminal=False)
    with progress.busy("testing"):
        until(said, "still testing\nstill testing\n")
    ended = said.getvalue()
    time.sleep(0.2)
    assert said.getvalue() == ended


def test_a_terminal_shows_it_while_it_lasts(stderr, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET", 0)
    said = stderr(terminal=True)
    with progress.busy("testing"):
        until(said, "testing")
    assert said.getvalue().endswith("\x1b[2K")  # the line is taken away again


def test_the_whole_is_told_and_not_its_parts(stderr, monkeypatch):
    for name in ("_QUIET", "_BETWEEN_LINES"):
        monkeypatch.setattr(progress, name, 0.05)
    said = stderr(terminal=False)
    with progress.busy("publishing"), progress.busy("waiting"):
        until(said, "still publishing\nstill publishing\n")
    assert "waiting" not in said.getvalue()
    with progress.busy("waiting"):
        until(said, "still waiting\n")


def test_what_fails_goes_on_as_it_was(stderr, monkeypatch):
    monkeypatch.setattr(progress, "_QUIET", 0)
    stderr(terminal=False)
    with pytest.raises(KeyError), progress.busy("testing"):
        raise KeyError
