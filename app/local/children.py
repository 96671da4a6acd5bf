"""Child processes that never outlive this one.

A guard process waits on a pipe that this process holds and kills what is left when the pipe closes. Linux's
`PR_SET_PDEATHSIG` would need no guard, but it fires when the *thread* that started the child ends (so a child
started from a thread pool would be killed at random), and other systems lack it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import app.local.guard


class Children:
    """A set of child processes, each the leader of a session of its own: Ctrl-C in a terminal reaches only us."""

    def __init__(self) -> None:
        self._guard: subprocess.Popen[bytes] | None = None
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        arguments: Sequence[str | Path],
        *,
        output: int | IO[bytes],
        environment: Mapping[str, str],
        directory: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process with both its outputs in `output`. Raises `OSError` when it cannot be executed."""
        if self._guard is None:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", app.local.guard.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        child = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )
        self._running.append(child)
        self._tell_guard(f"+{child.pid}")
        return child

    def stop(self, grace: float = 5.0) -> None:
        """End all: SIGTERM, then after `grace` seconds SIGKILL. Harmless when nothing runs."""
        for child in self._running:
            _signal_group(child, signal.SIGTERM)
        deadline = time.monotonic() + grace
        for child in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.0, deadline - time.monotonic()))
        while self._running:
            child = self._running.pop()
            _signal_group(child, signal.SIGKILL)
            child.wait()
            self._tell_guard(f"-{child.pid}")
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()
            self._guard = None

    def _tell_guard(self, line: str) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard; the children run on regardless
            os.write(self._guard.stdin.fileno(), f"{line}\n".encode())


def _signal_group(leader: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # Once the leader has been waited for, its number may belong to somebody else.
    if leader.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, number)
