"""Where the tiles of a transparency log are read from: a directory, or a prefix over HTTP.

Nothing that comes from there is trusted: whoever reads it compares it with a signed checkpoint.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import httpx

from app.core import loopback
from app.core.errors import PlacetError, UsageError
from app.core.reason_codes import Reason

#: Seconds: to connect, and between two pieces of an answer.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
#: Seconds for one file in all: the timeouts above count from byte to byte, and bytes can drip.
TOTAL_TIMEOUT = 120.0


class LogUnavailable(PlacetError):
    """The log, or a witness of it, does not answer. That says nothing against it, and nothing new for it."""

    reason = Reason.LOG_UNAVAILABLE

    def __init__(self, detail: str) -> None:
        super().__init__(f"{self.reason}: {detail}")
        self.detail = detail


class Unfit(LogUnavailable):
    """What is there is no file of the size that it may have: whoever reads a log's tiles finds them invalid."""


class LogSource(Protocol):
    """Reads the files of one log by their names below its prefix."""

    #: What it is called in messages.
    name: str

    def read(self, path: str, limit: int) -> bytes | None:
        """The file at `path`, which has at most `limit` bytes; None where there is none.

        Raises `LogUnavailable` when that cannot be told, and `Unfit` for what is larger or no regular file.
        """

    def tiles(self) -> list[str]:
        """The names of all files below `tile/`; none where they cannot be listed. Raises `LogUnavailable`.

        Links are followed. One that leads nowhere, or to where another leads, is as a file of its own.
        """


class DirectorySource:
    """A log's directory: the `--storage-dir` of a Rekor v2, or a copy of one."""

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise UsageError(f"{directory} is no directory; give the log's own, or its URL")
        self.name = str(directory)
        self._directory = directory

    def read(self, path: str, limit: int) -> bytes | None:
        """As `LogSource.read`."""
        place = self._directory / path
        try:
            if not stat.S_ISREG(place.stat().st_mode):  # a pipe would not end
                raise Unfit(f"cannot read {path} of {self.name}: it is no regular file")
            with place.open("rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            if place.is_symlink():
                raise Unfit(f"cannot read {path} of {self.name}: it is a link that leads nowhere") from None
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Unfit(f"cannot read {path} of {self.name}: it is a link that leads to itself") from error
            raise LogUnavailable(f"cannot read {path} of {self.name}: {error.strerror}") from error
        _require_bounded(len(content), limit, str(place))
        return content

    def tiles(self) -> list[str]:
        """As `LogSource.tiles`."""
        found: list[Path] = []
        seen: set[tuple[int, int]] = set()
        for name, below, files in os.walk(self._directory / "tile", onerror=self._unlisted, followlinks=True):
            directory = Path(name)
            try:
                there = directory.stat()
            except OSError as error:
                self._unlisted(error)
                continue
            if (place := (there.st_dev, there.st_ino)) in seen:  # a link to where we were
                below.clear()
                found.append(directory)
                continue
            seen.add(place)
            found += [directory / one for one in files]
        return [one.relative_to(self._directory).as_posix() for one in found]

    def _unlisted(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # an empty log; or removed meanwhile
            raise LogUnavailable(f"cannot list {error.filename}: {error.strerror}") from error


class HttpSource:
    """A log's prefix, below which C2SP's tlog-tiles names are served. Use it as a context manager."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise UsageError(f"{url!r} is no address of a log: give its http or https prefix, or a directory")
        self.name = url.rstrip("/")
        #: A duplicate of the newest connection's, since TLS takes the socket itself over.
        self._socket: socket.socket | None = None
        self._over = threading.Event()
        self._client = httpx.Client(
            # Not compressed: what is read is bounded before anything is made of it.
            headers={"Accept-Encoding": "identity", "Cache-Control": "no-cache"},
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            follow_redirects=False,
            trust_env=parts.hostname not in loopback.NAMES,
        )

    def read(self, path: str, limit: int) -> bytes | None:
        """As `LogSource.read`."""
        return self.get(f"{self.name}/{path}", limit)

    def tiles(self) -> list[str]:
        """As `LogSource.tiles`: a prefix is not listed."""
        return []

    def get(self, url: str, limit: int) -> bytes | None:
        """What is at `url`, as `read`."""
        try:
            with self._bounded(url), self._client.stream("GET", url, extensions={"trace": self._connected}) as response:
                if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
                    return None
                if response.status_code != httpx.codes.OK or response.headers.get("content-encoding", "identity") != (
                    "identity"
                ):
                    raise LogUnavailable(f"{url} answered {response.status_code}, not with a plain file")
                content = bytearray()
                for piece in response.iter_raw():
                    content += piece
                    _require_bounded(len(content), limit, url)
                return bytes(content)
        except httpx.HTTPError as error:
            raise LogUnavailable(f"{url} does not answer: {error or type(error).__name__}") from error

    @contextmanager
    def _bounded(self, url: str) -> Iterator[None]:
        """End the connection after `TOTAL_TIMEOUT`, also while the answer's head drips."""
        over = self._over = threading.Event()  # its own: an old timer that fires late must not end the next read
        timer = threading.Timer(TOTAL_TIMEOUT, self._cut, [over])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            # However the read ended then, it is not the whole file.
            if over.is_set():
                raise LogUnavailable(f"{url} did not answer in {TOTAL_TIMEOUT:g} seconds")

    def _cut(self, over: threading.Event) -> None:
        over.set()
        if over is self._over and (connection := self._socket) is not None:
            with suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def _connected(self, event: str, info: dict[str, Any]) -> None:
        """What the client tells of its connections: one at a time, as there is one read at a time."""
        if event.endswith("connect_tcp.complete"):
            if self._socket is not None:
                self._socket.close()
            self._socket = info["return_value"].get_extra_info("socket").dup()
            if self._over.is_set():  # the timer cuts what was there before; this, what came after
                self._cut(self._over)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def log_source(where: str) -> LogSource:
    """The log that an option names by its directory or its URL. Raises `UsageError`."""
    return HttpSource(where) if "://" in where else DirectorySource(Path(where))


@contextmanager
def opened(where: str) -> Iterator[LogSource]:
    """The same, whose connections are closed in the end."""
    source = log_source(where)
    with source if isinstance(source, HttpSource) else nullcontext():
        yield source


def _require_bounded(length: int, limit: int, name: str) -> None:
    if length > limit:
        raise Unfit(f"{name} has more than the {limit} bytes that it may have")
