"""A step of a release pipeline, recorded: what lay there before a command ran, and what lies there after it.

Artifacts are files below one directory. Their names in the link are paths relative to it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path, PurePosixPath

from app.core import statements, strict_json
from app.core.errors import Denied, PlacetError, UsageError
from app.core.files import read_bounded
from app.core.layout_check import MAX_ARTIFACTS, checked_link

#: Bytes of a list of files.
_MAX_LIST = 1024 * 1024


def patterns(given: Sequence[str], lists: Sequence[Path]) -> list[str]:
    """The patterns that were given, and those that stand in files, one a line. Raises `UsageError`."""
    found = list(given)
    for path in lists:
        lines = read_bounded(path, _MAX_LIST, "the list of files").decode(errors="replace").splitlines()
        found += [line for line in lines if line.strip()]
    return found


def artifacts(directory: Path, wanted: Sequence[str]) -> list[statements.Resource]:
    """The files below `directory` that the patterns (`policy/**/*.rego`, or a path) name, each with its SHA-256.

    A directory stands for all files below it, without those of git. Raises `UsageError` when a pattern names none,
    leads out of `directory`, or meets a link.
    """
    found: dict[str, Path] = {}
    for pattern in wanted:
        for path in _matched(directory, pattern):
            found[path.relative_to(directory).as_posix()] = path
            if len(found) > MAX_ARTIFACTS:
                raise UsageError(f"{pattern!r}: a step has at most {MAX_ARTIFACTS} files; name fewer")
    return [statements.resource(name, _digest(found[name])) for name in sorted(found)]


def run(command: Sequence[str]) -> None:
    """Run a command to its end; what it prints goes to stderr. Raises `PlacetError` when it fails."""
    try:
        done = subprocess.run(list(command), stdout=sys.stderr.fileno(), check=False)
    except OSError as error:
        raise UsageError(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode < 0:
        raise PlacetError(f"{command[0]} was ended by signal {-done.returncode}; no link is signed")
    if done.returncode != 0:
        raise PlacetError(f"{command[0]} failed with exit code {done.returncode}; no link is signed")


def link(
    name: str,
    command: Sequence[str],
    materials: Sequence[statements.Resource],
    products: Sequence[statements.Resource],
) -> bytes:
    """The statement of a step that succeeded. Raises `UsageError` when it made nothing: it would say nothing."""
    if not products:
        raise UsageError(f"the step {name} has no products; name what it makes, or what it looked at, with --products")
    statement = statements.link(
        name, command=command, materials=materials, products=products, byproducts={"return-value": 0}
    )
    if len(statement) > statements.MAX_STATEMENT:
        raise UsageError(f"the step {name} names too many files for one link; name fewer")
    try:
        checked_link(strict_json.load_object(statement), name)
    except Denied as denied:  # nobody would accept it
        raise UsageError(f"the step {name} cannot be recorded: {denied.detail}") from denied
    return statement


def _matched(directory: Path, pattern: str) -> list[Path]:
    parts = PurePosixPath(pattern)
    if not pattern or parts.is_absolute() or ".." in parts.parts or "\0" in pattern:
        raise UsageError(f"{pattern!r} is no path below this directory; run the step where its files lie")
    try:
        hits = sorted(directory.glob(pattern))
    except ValueError as error:
        raise UsageError(f"{pattern!r} is no pattern: {error}") from error
    files: list[Path] = []
    for hit in hits:
        if hit.is_dir() and not hit.is_symlink() and "**" not in parts.parts:
            files += [below for below in sorted(hit.rglob("*")) if below.is_symlink() or not below.is_dir()]
        elif hit.is_symlink() or not hit.is_dir():
            files.append(hit)
    files = [one for one in files if ".git" not in one.relative_to(directory).parts]
    if not files:
        raise UsageError(f"{pattern!r} names no file")
    for one in files:
        if not one.relative_to(directory).as_posix().isprintable():
            raise UsageError(f"{one.relative_to(directory).as_posix()!r} has a name that no link can hold; rename it")
        if one.is_symlink() or not one.is_file():
            raise UsageError(f"{one.relative_to(directory)} is not a regular file; name the file itself")
        above = list(one.relative_to(directory).parents)[:-1]
        if link := next((part for part in above if (directory / part).is_symlink()), None):
            raise UsageError(f"{one.relative_to(directory)} lies behind the link {link}; name the file where it is")
    return files


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PlacetError(f"cannot read {path}: {error.strerror}") from error
