"""The object store: bundles, evidence and raw records, in a directory or in a bucket.

A `put` has reached the disk when it returns: a local store leaves that to the kernel, so the file and its
directory are fsynced here; object services promise it themselves.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, from_url

from app.control.problems import NotFound, Unavailable
from app.core.errors import PlacetError, UsageError

#: The key of an object that is always there once a control plane started.
CANARY, _MARK = "placet", b"placet\n"
_CHUNK = 1024 * 1024
#: Directories that are remembered.
_MAX_KEPT = 10_000


class Objects:
    """Named immutable byte strings. Credentials come from the environment, as obstore reads them."""

    def __init__(self, url: str) -> None:
        self._local: Path | None = None
        #: Directories that are in their parents, on disk.
        self._kept: set[Path] = set()
        try:
            if url.startswith("file://"):
                self._local = Path(url.removeprefix("file://"))
                self._local.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._store: obstore.store.ObjectStore = LocalStore(self._local)
            else:
                self._store = from_url(
                    url,
                    client_options={"connect_timeout": "5s", "timeout": "30s", "allow_http": _plain_http()},
                    retry_config={"max_retries": 2},
                )
        except OSError as error:
            raise PlacetError(f"cannot use the object store {self._local}: {error.strerror}") from error
        except (BaseError, ValueError) as error:
            raise UsageError(f"the object store's URL is not usable: {_line(error)}") from error

    def put(self, key: str, body: bytes) -> None:
        """Store `body` durably, replacing what was there. Raises `Unavailable`."""
        with _reachable():
            obstore.put(self._store, key, body)
            if self._local is not None:
                self._sync(key)

    def get(self, key: str) -> bytes:
        """The whole object. Raises `NotFound`, `Unavailable`."""
        with _reachable():
            return bytes(obstore.get(self._store, key).bytes())

    def part(self, key: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`. Raises `NotFound`, `Unavailable`."""
        with _reachable():
            return bytes(obstore.get_range(self._store, key, start=offset, length=length))

    def stream(self, key: str) -> tuple[int, Iterator[bytes]]:
        """The size of an object and its chunks. Raises `NotFound`, `Unavailable`."""
        with _reachable():
            found = obstore.get(self._store, key)
            return found.meta["size"], (bytes(chunk) for chunk in found.stream(min_chunk_size=_CHUNK))

    def keys(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """The objects below a prefix, which ends where a part of their names does, and when each was last written.

        In no order. Raises `Unavailable`.
        """
        with _reachable():
            for page in obstore.list(self._store, prefix):
                for one in page:
                    yield one["path"], one["last_modified"]

    def remove(self, key: str) -> None:
        """Delete an object; one that is not there is none. Raises `Unavailable`."""
        with contextlib.suppress(NotFound), _reachable():
            obstore.delete(self._store, key)
            if self._local is not None and (parent := (self._local / key).parent).is_dir():
                _fsync(parent)

    def mark(self) -> None:
        """Write the object that `check` reads: at the start, so that a store that cannot be written is found then."""
        self.put(CANARY, _MARK)

    def is_marked(self) -> bool:
        """Whether that object is as it was written. Raises `NotFound`, `Unavailable`."""
        return self.get(CANARY) == _MARK

    def check(self) -> None:
        """Fail unless the store can be read. Raises `Unavailable`."""
        try:
            self.get(CANARY)
        except NotFound as error:
            raise Unavailable("the object store is another one, or no control plane has run with it yet") from error

    def _sync(self, key: str) -> None:
        assert self._local is not None
        path = self._local / key
        _fsync(path)
        # New directories on the way are entries in their parents; stop at the first that is on disk already.
        new = []
        for parent in path.parents:
            _fsync(parent)
            if parent == self._local or parent in self._kept:
                break
            new.append(parent)
        if len(self._kept) > _MAX_KEPT:
            self._kept.clear()
        self._kept.update(new)


def _plain_http() -> bool:
    """Whether an endpoint may be http, which obstore reads from the environment only when it is given no options."""
    return os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise NotFound("the object store has no such object") from error
    except (BaseError, OSError) as error:
        raise Unavailable(f"the object store does not answer: {_line(error)}") from error


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def is_key(key: Any) -> bool:
    """Whether an object store takes it for a key: damaged rows may hold anything."""
    if not isinstance(key, str) or not key.isprintable() or {"", ".", ".."} & set(key.split("/")):
        return False
    return "#" not in key and "%" not in key and key.isascii()


def is_private(path: Path) -> bool:
    """Whether nobody but the owner may read the file."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
