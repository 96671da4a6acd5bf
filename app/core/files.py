"""Files that are whole or not there: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from app.core.complaint import printable
from app.core.errors import PlacetError, UsageError


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write `content` to `path` so that a reader, or a crash, sees the old file or the new one.

    The file is for this user alone unless `mode` says otherwise.
    """
    write_together({path: content}, mode=mode)


def write_together(files: Mapping[Path, bytes], *, mode: int = 0o600) -> None:
    """Write several files, each atomically, and none before all of them are on disk: a full disk changes nothing."""
    staged: dict[Path, Path] = {}
    path = Path()
    try:
        streams = [path for path in files if is_stream(path)]
        for path, content in files.items():
            if path not in streams:
                staged[path] = _stage(path, content, mode)
        for path in streams:
            path.write_bytes(files[path])
        for path, scratch in staged.items():
            scratch.replace(path)
        for directory in {path.parent for path in staged}:
            sync_directory(directory)
    except OSError as error:
        raise PlacetError(f"cannot write {path}: {error.strerror}") from error
    finally:
        for scratch in staged.values():
            scratch.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Whether it is something to write into, such as /dev/stdout, which no file may take the place of."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_tree(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their paths below a directory that nobody reads yet: neither atomic nor flushed."""
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _stage(path: Path, content: bytes, mode: int) -> Path:
    """The content on disk, in a file beside its place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return scratch


def sync_directory(directory: Path) -> None:
    """Make the renames within `directory` survive a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """The content of a file that a person named. Raises `UsageError` when it is missing or beyond `limit` bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from error
    if len(content) > limit:
        raise UsageError(f"{path} is larger than {limit} bytes; it cannot be {what}")
    return content


def read_secret(path: Path, limit: int, what: str) -> bytes:
    """The same of a private key, a token or what opens one: who named it is told when others can read it, too."""
    warn_if_open(path, what)
    return read_bounded(path, limit, what)


@cache
def warn_if_open(path: Path, what: str) -> None:
    """Say on stderr, once, that a file is not for its owner alone. It is taken all the same: it may be mounted so."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # whoever reads it says what is wrong
    if stat.S_ISREG(mode) and mode & 0o077:
        name = printable(str(path))
        sys.stderr.write(f"warning: others can read {what} {name} (mode {mode & 0o777:04o}); run: chmod 600 {name}\n")


@contextmanager
def replacing(path: Path, *, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when the block ends; when it fails, `path` is as it was."""
    scratch: Path | None = None
    try:
        if is_stream(path):
            with path.open("wb") as file:
                yield file
            return
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        scratch = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        scratch.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise PlacetError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
