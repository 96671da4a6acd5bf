"""The memory of a command: of all its processes together, at the worst moment (Linux; 0 elsewhere)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

#: Seconds between two looks.
_PAUSE = 0.004


def peak(command: Sequence[str]) -> float:
    """MB that it had at most, sampled: what is shared between its processes is counted for each."""
    worst = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            worst = max(worst, sum(map(_resident, _tree(process.pid))))
            time.sleep(_PAUSE)
        _, said = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command[:3])} failed: {said.decode(errors='replace')[:500]}")
    return worst / 1024 / 1024


def _tree(pid: int) -> Iterator[int]:
    """A process and those below it."""
    yield pid
    try:
        below = [child for one in Path(f"/proc/{pid}/task").glob("*/children") for child in one.read_text().split()]
    except OSError:
        return  # it, or a thread of it, has just ended: the next look sees what is left
    for child in below:
        yield from _tree(int(child))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
