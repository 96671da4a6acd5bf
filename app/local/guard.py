"""Kills the process groups named on its standard input once nobody holds the other end.

Started by `app.local.children`, as a script of its own that needs the standard library alone. The kernel closes
the pipe when the process that feeds it ends in whatever way, SIGKILL included.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read `+PID` and `-PID` lines until the end of input, then kill the groups that are left."""
    groups: set[int] = set()
    for line in sys.stdin.read().split():
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
