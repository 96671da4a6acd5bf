"""Policy out of git: the files of one commit, fetched without a work tree, and what git knows about a directory.

Git runs with no hooks, filters, prompts or submodules: objects are read as they are stored. The commit's hash is what
is trusted, so it must be whole; where it came from is only noted.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from app.core import archive
from app.core.errors import Denied, PlacetError, UsageError
from app.core.reason_codes import Reason

#: Seconds for one call of git; a fetch brings one commit without its history.
TIMEOUT = 120
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: What may run nothing of the repository's and nothing of the user's.
_QUIET = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "gc.auto=0",
    "-c",
    "protocol.allow=never",
)
_SCHEMES = ("https", "ssh", "file")


@dataclass(frozen=True)
class GitFacts:
    """Where a policy stands in git."""

    commit: str
    #: The remote without user name, password and query; empty when there is none.
    remote: str
    #: Whether files differ from the commit.
    dirty: bool

    @property
    def resource(self) -> dict[str, Any]:
        """The commit as an in-toto ResourceDescriptor."""
        named = {"uri": f"git+{self.remote}@{self.commit}"} if self.remote else {"name": "git"}
        return {**named, "digest": {"gitCommit": self.commit}}

    def as_dict(self) -> dict[str, str | bool]:
        """The facts as manifest and build notes have them."""
        return {"commit": self.commit, "remote": self.remote, "dirty": self.dirty}


def facts(directory: Path) -> GitFacts | None:
    """What git knows about a directory; None when it is in no repository, or git is not there."""
    try:
        commit = _git(["-C", str(directory), "rev-parse", "--verify", "HEAD"]).decode().strip()
        changed = _git(["-C", str(directory), "status", "--porcelain", "--untracked-files=all", "--", "."])
    except PlacetError:
        return None
    try:
        remote = _git(["-C", str(directory), "remote", "get-url", "origin"]).decode(errors="replace").strip()
    except PlacetError:
        remote = ""
    return GitFacts(commit, without_credentials(remote), bool(changed.strip()))


def without_credentials(remote: str) -> str:
    """A remote's address as it may be shown: no user with password, no query. A local path is not shown at all."""
    if "://" not in remote:
        return remote if re.fullmatch(r"[\w.-]+@[\w.-]+:[^\s]+", remote) else ""
    parts = urlsplit(remote)
    if parts.scheme == "file":
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def split(source: str) -> tuple[str, str, str]:
    """URL, commit and directory of `git+https://HOST/PATH@COMMIT#DIRECTORY`. Raises `UsageError`."""
    address, _, below = source.removeprefix("git+").partition("#")
    url, _, commit = address.rpartition("@")
    if not _COMMIT.fullmatch(commit):
        raise UsageError(f"{source}: end it with @ and a whole commit, 40 or 64 hex digits: branches and tags move")
    if urlsplit(url).scheme not in _SCHEMES:
        raise UsageError(f"{source}: git is fetched by {', '.join(_SCHEMES)}, such as git+https://HOST/PATH@COMMIT")
    if below and (below.startswith("/") or ".." in below.split("/")):
        raise UsageError(f"{source}: {below} leaves the repository")
    return url, commit, below.strip("/")


def fetch(source: str) -> tuple[dict[str, bytes], GitFacts]:
    """The files below the directory of that commit, by path, links and submodules left out. Raises `PlacetError`."""
    url, commit, below = split(source)
    scheme = urlsplit(url).scheme
    with tempfile.TemporaryDirectory(prefix="placet-git-") as scratch:
        repository = ["--git-dir", scratch]
        kind = "sha256" if len(commit) == 64 else "sha1"
        _git(["init", "--quiet", "--bare", "--template=", f"--object-format={kind}", scratch])
        _git(
            [
                *("-c", f"protocol.{scheme}.allow=always", "-c", "fetch.fsckObjects=true"),
                *repository,
                *("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
                *("--", url, commit),
            ],
            doing=f"fetch {commit} from {without_credentials(url) or 'that path'}",
        )
        return _files(repository, commit, below), GitFacts(commit, without_credentials(url), False)


def _files(repository: Sequence[str], commit: str, below: str) -> dict[str, bytes]:
    # The trailing slash asks for what is in the directory, and paths relative to it.
    tree = f"{commit}:{below}" if below else commit
    listing = _git(
        [*repository, "ls-tree", "-r", "-z", "--long", tree], doing=f"find {below or 'the tree'} in {commit}"
    )
    wanted: dict[str, str] = {}
    left = archive.MAX_DECOMPRESSED
    for line in filter(None, listing.split(b"\0")):
        described, _, name = line.partition(b"\t")
        mode, _, object_id, size = described.decode().split()
        path = name.decode(errors="replace")
        if not mode.startswith("100"):
            if path.endswith((".rego", "data.json", ".manifest")):
                raise Denied(
                    Reason.ARCHIVE_LINK, f"{path} is a link or a submodule; put the file itself there", field=path
                )
            continue
        left -= int(size)
        if left < 0 or len(wanted) >= archive.MAX_MEMBERS * 4:
            raise Denied(
                Reason.ARCHIVE_TOO_LARGE, f"{commit} holds more than a bundle may; name a directory by #DIRECTORY"
            )
        wanted[path] = object_id
    asked = "".join(f"{object_id}\n" for object_id in wanted.values()).encode()
    answer = _git([*repository, "cat-file", "--batch"], stdin=asked)
    files: dict[str, bytes] = {}
    at = 0
    for path in wanted:
        end = answer.index(b"\n", at)
        length = int(answer[at:end].split()[2])
        files[path] = answer[end + 1 : end + 1 + length]
        at = end + length + 2
    return files


def _git(arguments: Sequence[str], *, stdin: bytes = b"", doing: str = "") -> bytes:
    try:
        done = subprocess.run(
            ["git", *_QUIET, *arguments],
            input=stdin,
            capture_output=True,
            timeout=TIMEOUT,
            env=_environment(os.environ),
            check=False,
            preexec_fn=_bound,
        )
    except FileNotFoundError as error:
        raise PlacetError("git is not on the PATH; install it, or build from a directory") from error
    except subprocess.TimeoutExpired as error:
        raise PlacetError(f"git took more than {TIMEOUT} s to {doing or arguments[0]}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise PlacetError(f"git could not {doing or 'answer'}: {_shown(said[-1])}")
    return done.stdout


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """The user's own, for keys and credential stores, without what would point git elsewhere or make it ask."""
    kept = {name: value for name, value in given.items() if not name.startswith("GIT_") or name == "GIT_SSH_COMMAND"}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (archive.MAX_DECOMPRESSED, archive.MAX_DECOMPRESSED))


def _shown(text: str) -> str:
    """An error of git's without the credentials that an address in it may carry."""
    return re.sub(r"://[^/@\s]*@", "://", text)[:300]
