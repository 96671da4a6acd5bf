"""Submodules: repositories inside a repository, each at one commit, at addresses that `.gitmodules` has."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from app.core import git_command
from app.core.errors import UsageError

#: Of all repositories that one build fetches.
MAX_REPOSITORIES = 20
_SCP = re.compile(r"(?P<user>[\w.-]+@)?(?P<host>[\w.-]+):(?P<path>[^:\s]+)")


def addresses(repository: Sequence[str], commit: str) -> dict[str, str]:
    """The addresses of a commit's submodules by their paths, as `.gitmodules` has them."""
    try:
        listing = git_command.run(
            [
                *repository,
                "config",
                "--blob",
                f"{commit}:.gitmodules",
                "-z",
                "--get-regexp",
                r"^submodule\..*\.(path|url)$",
            ]
        )
    except git_command.GitFailed:  # there is no such file, or it names none: whoever asks misses his path
        return {}
    told: dict[str, dict[str, str]] = {}
    for line in filter(None, listing.decode(errors="replace").split("\0")):
        key, _, value = line.partition("\n")
        name, _, member = key.rpartition(".")
        told.setdefault(name, {})[member] = value
    return {one["path"]: one["url"] for one in told.values() if "path" in one and "url" in one}


def is_address(url: str) -> bool:
    """Whether it is a whole URL: SCHEME://HOST/PATH, or file:///PATH. Raises `UsageError` for a bad host."""
    try:
        urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{url.partition('://')[0]}://…: {error}") from error
    return url.isprintable() and bool(re.fullmatch(r"(file://|[a-z]+://[^/\s]+)/+[^/].*", url))


def resolved(address: str, parent: str, path: str) -> str:
    """The URL of the submodule at `path`, whose address may be relative to its repository's. Raises `UsageError`."""
    parts = urlsplit(parent)
    if address.startswith(("./", "../")):
        there = posixpath.normpath(f"{parts.path}/{address}")
        url = urlunsplit((parts.scheme, parts.netloc, there, "", ""))
    elif "://" not in address and (match := _SCP.fullmatch(address)):
        url = f"ssh://{match['user'] or ''}{match['host']}/{match['path'].lstrip('/')}"
    elif address.startswith("/") and parts.scheme == "file":
        url = f"file://{address}"
    else:
        url = address
    scheme = url.partition("://")[0]
    allowed = ("https", "ssh", "file") if parts.scheme == "file" else ("https", "ssh")
    if scheme not in allowed or not is_address(url):
        raise UsageError(
            f"{path} is a submodule at an address that is not fetched; "
            f"give it an https or ssh address in .gitmodules, or choose a directory without it by #DIRECTORY"
        )
    return url
