"""Policy out of git: the files of one commit with its submodules, without a work tree.

Git runs with no hooks, filters or prompts: objects are read as they are stored. What is fetched is named by a commit's
hash in the end: a branch or tag is looked up once, and the commit that it led to is noted.
"""

from __future__ import annotations

import posixpath
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.core import archive, git_command, git_submodules
from app.core.errors import Denied, PlacetError, UsageError
from app.core.git_facts import GitFacts, without_credentials
from app.core.reason_codes import Reason

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: A branch or tag, by its short or its full name: no option, no pattern, no second name.
_REF = re.compile(r"(?!.*(\.\.|//|@\{|\.lock(/|$)))[A-Za-z0-9_][A-Za-z0-9._/+@-]*(?<![./])")
_SCHEMES = ("https", "ssh", "file")
#: What a build does not read, as of a directory: other tools' directories.
_HIDDEN = re.compile(r"(^|/)\.")


def split(source: str) -> tuple[str, str, str]:
    """URL, commit or ref, and directory of `git+https://HOST/PATH@COMMIT#DIRECTORY`. Raises `UsageError`."""
    address, _, below = source.removeprefix("git+").partition("#")
    shown = without_credentials(address) or "that repository"
    url, _, wanted = address.rpartition("@")
    if address.partition("://")[0] not in _SCHEMES:
        raise UsageError(f"git is fetched by {', '.join(_SCHEMES)}, such as git+https://HOST/PATH@COMMIT")
    if not git_submodules.is_address(url) or not (_COMMIT.fullmatch(wanted) or _REF.fullmatch(wanted)):
        raise UsageError(f"git+{shown}: end it with @ and a commit's whole hash, or the name of a tag or branch")
    if below and (below.startswith("/") or ".." in below.split("/")):
        raise UsageError(f"git+{shown}: {below} leaves the repository")
    return url, wanted, posixpath.normpath(below).strip("/") if below.strip("./") else ""


@dataclass(frozen=True)
class Fetched:
    """The files of a commit, by path."""

    files: dict[str, bytes]
    facts: GitFacts
    #: The submodules of which files are there, by path.
    submodules: dict[str, GitFacts]

    @property
    def name(self) -> str:
        """What was fetched, without credentials."""
        return f"git+{self.facts.remote or 'file'}@{self.facts.commit}"


def fetch(source: str) -> Fetched:
    """The files below the directory of that commit, and of the submodules there. Raises `PlacetError`."""
    url, wanted, below = split(source)
    fetching = _Fetching()
    facts = fetching.fetch(url, wanted, below)
    if not fetching.files:
        where = f"{wanted} of {facts.remote or url}"
        raise UsageError(f"there is no directory {below} in {where}" if below else f"there are no files in {where}")
    return Fetched(fetching.files, facts, fetching.submodules)


@dataclass
class _Fetching:
    """A repository and its submodules, within the bounds of one bundle."""

    files: dict[str, bytes] = field(default_factory=dict)
    submodules: dict[str, GitFacts] = field(default_factory=dict)
    left: int = archive.MAX_DECOMPRESSED
    repositories: int = 0

    def fetch(self, url: str, wanted: str, below: str, *, at: str = "", path: str = "") -> GitFacts:
        """Add the files of a commit that lie below a directory, under `at`; `path` is where it is a submodule."""
        self.repositories += 1
        if self.repositories > git_submodules.MAX_REPOSITORIES:
            raise UsageError(
                f"more than {git_submodules.MAX_REPOSITORIES} repositories, each a submodule of another; "
                f"name a directory with fewer by #DIRECTORY"
            )
        with tempfile.TemporaryDirectory(prefix="placet-git-") as scratch:
            repository = ["--git-dir", scratch]
            commit = _fetch_commit(repository, url, wanted, path)
            entries = list(_listed(repository, commit))
            self._take_files(repository, commit, [one for one in entries if one.mode != "160000"], below, at)
            submodules = [one for one in entries if one.mode == "160000" and one.concerns(below)]
            known = git_submodules.addresses(repository, commit) if submodules else {}
        for one in submodules:
            name = _joined(path, one.path)
            if one.path not in known:
                raise UsageError(
                    f"{name} is a submodule without an address in .gitmodules; mend that file, "
                    f"or choose a directory without it by #DIRECTORY"
                )
            inner = _relative(below, one.path) if _is_below(below, one.path) else ""
            place = _joined(at, _relative(one.path, below)) if _is_below(one.path, below) else at
            address = git_submodules.resolved(known[one.path], url, name)
            self.submodules[name] = self.fetch(address, one.object_id, inner, at=place, path=name)
        return GitFacts(commit, without_credentials(url), False)

    def _take_files(
        self, repository: Sequence[str], commit: str, entries: Sequence[_Entry], below: str, at: str
    ) -> None:
        wanted: dict[str, str] = {}
        for one in entries:
            if not _is_below(one.path, below):
                continue
            path = _joined(at, _relative(one.path, below))
            if not one.mode.startswith("100"):
                if not _HIDDEN.search(path):  # a directory, perhaps, and with it rules that would be missing
                    raise Denied(
                        Reason.ARCHIVE_LINK,
                        f"{path} is a link; put the file itself there, or its directory",
                        field=path,
                    )
                continue
            self.left -= one.size
            if self.left < 0 or len(self.files) + len(wanted) >= archive.MAX_MEMBERS * 4:
                detail = f"{commit} holds more than a bundle may; name a directory by #DIRECTORY"
                raise Denied(Reason.ARCHIVE_TOO_LARGE, detail)
            wanted[path] = one.object_id
        asked = "".join(f"{object_id}\n" for object_id in wanted.values()).encode()
        answer = git_command.run([*repository, "cat-file", "--batch"], stdin=asked)
        position = 0
        for path in wanted:
            end = answer.index(b"\n", position)
            length = int(answer[position:end].split()[2])
            self.files[path] = answer[end + 1 : end + 1 + length]
            position = end + length + 2


@dataclass(frozen=True)
class _Entry:
    """A file, link or submodule of a commit."""

    path: str
    mode: str
    object_id: str
    size: int

    def concerns(self, below: str) -> bool:
        """Whether it lies below a directory, or the directory lies in it."""
        return _is_below(self.path, below) or _is_below(below, self.path)


def _fetch_commit(repository: Sequence[str], url: str, wanted: str, path: str) -> str:
    """Fetch what is wanted and nothing before it; its commit."""
    kind = "sha256" if len(wanted) == 64 and _COMMIT.fullmatch(wanted) else "sha1"
    git_command.run(["init", "--quiet", "--bare", "--template=", f"--object-format={kind}", repository[-1]])
    submodule = f"the submodule {path} at " if path else ""
    doing = f"fetch {submodule}{wanted} from {without_credentials(url) or 'that path'}"
    reference = "refs/placet/wanted"
    try:
        git_command.run(
            [
                # Both, since people have one in place of the other by url.….insteadOf.
                *("-c", "protocol.https.allow=always", "-c", "protocol.ssh.allow=always"),
                *("-c", f"protocol.{urlsplit(url).scheme}.allow=always", "-c", "fetch.fsckObjects=true"),
                *repository,
                *("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
                *("--", url, f"{wanted}:{reference}"),
            ],
            doing=doing,
            by_children=True,
        )
    except git_command.GitTooLarge as error:
        raise PlacetError(f"{error}; build from a directory of a checkout instead") from error
    except git_command.GitFailed as error:
        if remedy := _remedy(str(error)):
            raise PlacetError(f"{error}; {remedy}") from error
        raise
    found = git_command.run([*repository, "rev-parse", "--verify", f"{reference}^{{commit}}"], doing=doing)
    return found.decode().strip()


def _remedy(said: str) -> str:
    if re.search(r"could not read (Username|Password)|Authentication failed|terminal prompts disabled", said):
        return "store a login with git's credential helper (`git credential approve`); it is never asked for"
    if re.search(r"Permission denied|Host key verification failed", said):
        return "load the key into ssh-agent, and the host's key into known_hosts; nothing is asked for"
    if "couldn't find remote ref" in said:
        return "name a tag or branch that is there, or a commit by its whole hash"
    if "certificate" in said:
        return "trust the server's authority by GIT_SSL_CAINFO or git's http.sslCAInfo"
    return ""


def _listed(repository: Sequence[str], commit: str) -> Iterator[_Entry]:
    listing = git_command.run([*repository, "ls-tree", "-r", "-z", "--long", commit], doing=f"list {commit}")
    for line in filter(None, listing.split(b"\0")):
        described, _, name = line.partition(b"\t")
        mode, _, object_id, size = described.decode().split()
        try:
            path = name.decode()
        except UnicodeDecodeError:
            raise Denied(Reason.ARCHIVE_PATH, f"{name!r} is no UTF-8; rename it", field=repr(name)) from None
        yield _Entry(path, mode, object_id, int(size) if size.isdigit() else 0)


def _is_below(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(f"{directory}/")


def _relative(path: str, directory: str) -> str:
    return path.removeprefix(directory).strip("/")


def _joined(directory: str, path: str) -> str:
    return f"{directory}/{path}".strip("/")
