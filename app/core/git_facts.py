"""What git knows about a directory: its commit, its remote, and whether the files are those of the commit.

Git's own `status` is not asked: it runs filters that the directory's own configuration names, and leaves out what that
configuration hides. The bytes of the files are compared with the commit's instead, which runs nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from app.core import git_command
from app.core.errors import PlacetError

#: Bytes that are compared: a directory of more counts as changed.
_MAX_COMPARED = 1024 * 1024 * 1024
_CHUNK = 1024 * 1024


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


def shared(inputs: Sequence[GitFacts | None]) -> GitFacts | None:
    """What git says of all the inputs of a build, where they are of one commit."""
    known = [one for one in inputs if one is not None]
    if not known or len(known) < len(inputs) or len({(one.commit, one.remote) for one in known}) > 1:
        return None
    return GitFacts(known[0].commit, known[0].remote, any(one.dirty for one in known))


def facts(directory: Path) -> GitFacts | None:
    """What git knows about a directory; None when it is in no repository, or git is not there."""
    try:
        commit = _asked(directory, "rev-parse", "--verify", "HEAD").decode().strip()
    except PlacetError:
        return None
    try:
        remote = _asked(directory, "remote", "get-url", "origin").decode(errors="replace").strip()
    except PlacetError:
        remote = ""
    return GitFacts(commit, without_credentials(remote), _is_dirty(directory, commit))


def without_credentials(remote: str) -> str:
    """A remote's address as it may be shown: no user with password, no query. A local path is not shown at all."""
    if "://" not in remote:
        return remote if re.fullmatch(r"[\w.-]+@[\w.-]+:[^\s]+", remote) else ""
    try:
        parts = urlsplit(remote)
    except ValueError:  # brackets that hold no IPv6 address
        return ""
    if parts.scheme == "file":
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _asked(directory: Path, *arguments: str) -> bytes:
    return git_command.run(["-C", str(directory), *arguments])


def _is_dirty(directory: Path, commit: str) -> bool:
    """Whether anything differs; what cannot be told counts as different."""
    try:
        if _asked(directory, "diff-index", "--cached", "--name-only", commit, "--", ".").strip():
            return True
        if _asked(directory, "ls-files", "--others", "--exclude-standard", "-z", "--", "."):
            return True
        others = _asked(directory, "ls-files", "--others", "-z", "--", ".").split(b"\0")
        if any(map(_is_built, filter(None, others))):  # what is ignored by git and not by a build
            return True
        return any(_differ(directory, _asked(directory, "ls-tree", "-r", "-z", commit)))
    except (PlacetError, OSError, ValueError):
        return True


def _is_built(path: bytes) -> bool:
    """Whether a build might read an untracked file, or what lies in such a directory, which is a repository."""
    *directories, name = path.split(b"/")
    if any(one.startswith(b".") for one in directories):
        return False
    return name == b"" or name.endswith((b".rego", b".manifest")) or name.startswith(b"data.")


def _differ(directory: Path, listing: bytes) -> Iterator[bool]:
    left = _MAX_COMPARED
    for line in filter(None, listing.split(b"\0")):
        described, _, name = line.partition(b"\t")
        mode, _, wanted = described.decode().split()
        path = directory / os.fsdecode(name)
        if mode == "160000":
            yield _differs_below(path, wanted)
        elif mode == "120000":
            yield not path.is_symlink() or _object_id([os.fsencode(path.readlink())], wanted) != wanted
        elif path.is_symlink() or not path.is_file():
            yield True
        else:
            left -= path.stat().st_size
            yield left < 0 or _object_id(_chunks(path), wanted, path.stat().st_size) != wanted


def _differs_below(submodule: Path, commit: str) -> bool:
    """Whether files of a submodule are there that are not its commit's."""
    if not submodule.is_dir() or not any(submodule.iterdir()):
        return False  # it was not fetched, and so is not built
    found = facts(submodule)
    return found is None or found.commit != commit or found.dirty


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _object_id(content: Any, like: str, size: int | None = None) -> str:
    """The name that git gives a blob: SHA-1, or SHA-256 where names have 64 digits."""
    if size is None:
        content = list(content)
        size = sum(map(len, content))
    digest = hashlib.sha256() if len(like) == 64 else hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % size)
    for chunk in content:
        digest.update(chunk)
    return digest.hexdigest()
