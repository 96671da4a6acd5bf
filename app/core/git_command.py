"""Running git: with nothing of the repository's and nothing of the user's but keys and credential helpers.

It never asks. It has no terminal, and programs that open a window for a password are not started. Time, memory of big
objects and the size of every file that it writes are bounded, whatever a server sends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from app.core import archive
from app.core.errors import PlacetError

#: Seconds for one call of git; a fetch brings one commit without its history.
TIMEOUT = 120
#: Bytes of any file that git writes: a pack, an answer.
LIMIT = archive.MAX_DECOMPRESSED + 16 * 1024 * 1024
#: Bytes of what git says went wrong.
_MAX_SAID = 64 * 1024
#: What may run nothing of the repository's and nothing of the user's, and fills neither memory nor disk.
_QUIET = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.bigFileThreshold=16m"),
    *("-c", "fetch.unpackLimit=1"),
    *("-c", "gc.auto=0"),
    *("-c", "protocol.allow=never"),
    *("-c", "safe.bareRepository=explicit"),
)
#: Of git's own variables those that say where the user's settings are, whom to trust, and as whom to connect.
_KEPT = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_SSH_COMMAND"} | {
    f"GIT_SSL_{name}" for name in ("CAINFO", "CAPATH", "CERT", "KEY")
}


class GitFailed(PlacetError):
    """Git ended with an error."""


class GitTooLarge(GitFailed):
    """Git stopped at the size of a file."""


def run(arguments: Sequence[str], *, stdin: bytes = b"", doing: str = "", by_children: bool = False) -> bytes:
    """What git answers. Raises `GitFailed` with what it said, or `PlacetError` when it cannot be run.

    A file that grows too large ends whoever writes it; `by_children` is for commands that write through others and
    would not say how those ended: there it is an error like any other.
    """
    what = doing or arguments[0]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        given.write(stdin)
        given.seek(0)
        try:
            code = _run(["git", *_QUIET, *arguments], given.fileno(), answer.fileno(), errors.fileno(), by_children)
        except FileNotFoundError as error:
            raise PlacetError("git is not on the PATH; install it, or build from a directory") from error
        except subprocess.TimeoutExpired as error:
            raise PlacetError(f"git took more than {TIMEOUT} s to {what}") from error
        errors.seek(0)
        said = errors.read(_MAX_SAID).decode(errors="replace").strip()
        if code == -signal.SIGXFSZ or os.strerror(errno.EFBIG) in said:
            raise GitTooLarge(f"git could not {what}: it is larger than {LIMIT >> 20} MiB")
        if code != 0:
            raise GitFailed(f"git could not {what if doing else 'answer'}: {_told(said) or f'exit code {code}'}")
        answer.seek(0)
        return answer.read()


def _run(command: Sequence[str], stdin: int, stdout: int, stderr: int, by_children: bool) -> int:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        if by_children:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=_environment(os.environ),
        start_new_session=True,  # without a terminal nothing can ask there, ssh included
        preexec_fn=bound,
    )
    try:
        return process.wait(timeout=TIMEOUT)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it started, which would go on fetching
        process.wait()
        raise


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """The user's own, without what would point git elsewhere or make it ask."""
    kept = {name: value for name, value in given.items() if not name.startswith("GIT_") or name in _KEPT}
    silent = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "GCM_INTERACTIVE": "never"}
    # An object is what its name says, and not what a reference of the repository puts in its place.
    exact = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1"}
    return {**kept, **silent, **exact, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _told(said: str) -> str:
    """What went wrong, of all that git said: its last word, but for advice. Without credentials of an address."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    if telling and telling[-1].startswith("fatal: Could not read from remote repository"):  # ssh has said why
        telling = [re.sub(r"^\S+@\S+: ", "", lines[max(0, lines.index(telling[-1]) - 1)])]
    return re.sub(r"://[^/@\s]*@", "://", telling[-1])[:300] if telling else ""
