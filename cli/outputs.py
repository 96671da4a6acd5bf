"""Files that commands write after they had something done elsewhere: a warrant issued, a use spent, a signature logged.

That they can be written is found out before anything is asked for. What still could not be kept is printed, since
nobody could get it again.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType

from app.core.errors import PlacetError, UsageError
from app.core.files import is_stream, sync_directory

#: Bytes that must be free: no token, chain or evidence in one of these files is larger, as a rule.
_ROOM = 64 * 1024


class Place:
    """A place for one file, with a file of some size in its directory already. A context manager.

    With `new`, nothing is written over. Raises `UsageError` and `PlacetError` before anything is done.
    """

    def __init__(self, path: Path, *, mode: int = 0o600, new: bool = False) -> None:
        self.path, self._mode = path, mode
        self._scratch: Path | None = None
        try:
            if is_stream(path):
                # Not opened: who reads a pipe would take the end of this for the end of all.
                if not os.access(path, os.W_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                return
            if path.is_dir():
                raise UsageError(f"{path} is a directory; name a file")
            if new and path.exists():
                raise UsageError(f"{path} exists; choose another file, or delete it")
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            self._scratch = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(bytes(_ROOM))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._give_up()
            raise _cannot(path, error) from error

    def keep(self, content: bytes) -> None:
        """Write the file, whole or not at all. When it fails, `content` is printed, and `PlacetError` raised."""
        try:
            if self._scratch is None:
                self.path.write_bytes(content)
                return
            with self._scratch.open("r+b") as file:
                file.truncate()
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), self._mode)
                os.fsync(file.fileno())
            self._scratch.replace(self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            sys.stdout.write(content.decode("utf-8", "replace"))
            sys.stdout.flush()
            raise PlacetError(f"{_cannot(self.path, error)}; what should be in it was printed instead") from error

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_up()

    def _give_up(self) -> None:
        """Leave nothing behind of what was not kept."""
        if self._scratch is not None:
            self._scratch.unlink(missing_ok=True)


def place(path: Path | None, *, new: bool = False) -> AbstractContextManager[Place | None]:
    """A place for the secret that a command was told to write to a file; None where it was told no file."""
    return nullcontext() if path is None else Place(path, new=new)


def require(*paths: Path) -> None:
    """Raise `PlacetError` unless each file can be written. For files that are made again by asking again."""
    for path in paths:
        with Place(path):
            pass


def _cannot(path: Path, error: OSError) -> PlacetError:
    return PlacetError(f"cannot write {path}: {error.strerror}")
