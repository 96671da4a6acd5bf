"""The sidecar's view of the control plane's TUF repository.

Everything here is verified by python-tuf from the pinned root, and then by what TUF does not know: the signed
time of issue, and the channel's sequence. A failed refresh never extends the horizon.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from app.core.archive import MAX_COMPRESSED
from app.core.complaint import complaint
from app.core.errors import Denied, PlacetError
from app.core.files import write_atomically
from app.core.governance import SystemGovernance
from app.core.reason_codes import Reason
from app.core.targets import (
    ATTESTATIONS_FILE,
    BUNDLE_FILE,
    DOMAIN,
    ISSUED_AT,
    SIGNATURE_FILE,
    STATE_TARGET,
    ChannelPointer,
    PublishedState,
    channel_target,
    governance_target,
    release_target,
)
from app.sidecar.config import SidecarConfig

#: Seconds without a byte before a download is given up.
TIMEOUT = 5.0

_Document = TypeVar("_Document", ChannelPointer, PublishedState, SystemGovernance)


class Unreachable(PlacetError):
    """The control plane did not answer. What was verified before stands until the horizon."""


@dataclass(frozen=True)
class Snapshot:
    """One consistent, verified state of the repository."""

    pointer: ChannelPointer
    state: PublishedState
    governance: SystemGovernance
    #: The signed time of issue, in seconds since the epoch.
    issued_at: float


class Repository:
    """Refreshes and downloads. Safe to use from several threads, one at a time inside."""

    def __init__(self, config: SidecarConfig, root: bytes) -> None:
        """`root`: the pinned TUF root, as the control plane's operator handed it over."""
        self._config = config
        self._root = root
        self._domain = _domain(root)
        self._floor = _Floor(config.files.private / "pointer.json", config.minimum_sequence)
        self._http = httpx.Client(
            timeout=TIMEOUT,
            trust_env=False,
            verify=str(config.server_ca) if config.server_ca else True,
        )
        self._updater: Updater | None = None
        self._lock = threading.RLock()
        #: Called whenever something of an answer arrives.
        self.arrived: Callable[[], None] = lambda: None

    def refresh(self) -> Snapshot:
        """Fetch and verify the newest metadata. Raises `Unreachable` or `Denied`."""
        with self._lock:
            return self._load(_HttpFetcher(self._http, lambda: self.arrived()))

    def cached(self) -> Snapshot | None:
        """What was verified last, verified again; None on a first start."""
        if not (self._config.files.metadata / "timestamp.json").exists():
            return None
        try:
            with self._lock:
                return self._load(_CacheFetcher(self._config.files.metadata))
        except Unreachable:
            return None

    def download(self, target: str) -> bytes | None:
        """A target's bytes, as its metadata describes them; None when there is no such target."""
        try:
            with self._lock:
                assert self._updater is not None, "refresh first"
                info = self._updater.get_targetinfo(target)
                if info is None:
                    return None
                if info.length > MAX_COMPRESSED:
                    raise Denied(Reason.METADATA_INVALID, f"{target} would have {info.length} bytes")
                path = self._updater.find_cached_target(info) or self._updater.download_target(info)
                return Path(path).read_bytes()
        except DownloadError as error:
            raise Unreachable(f"cannot download {target}: {_line(error)}") from error
        except (RepositoryError, OSError, ValueError) as error:
            raise Denied(Reason.METADATA_INVALID, f"{target}: {_line(error)}") from error

    def described(self, release: str) -> tuple[str | None, ...]:
        """The SHA-256 of a release's files as the newest metadata has them: evidence may be added to a release."""
        with self._lock:
            assert self._updater is not None, "refresh first"
            names = (release_target(release, file) for file in (BUNDLE_FILE, SIGNATURE_FILE, ATTESTATIONS_FILE))
            found = [self._updater.get_targetinfo(name) for name in names]
        return tuple(info.hashes.get("sha256") if info else None for info in found)

    def stored(self, target: str) -> bytes | None:
        """A target as it was downloaded once; None when it is not there. Nothing vouches for it but what it says."""
        path = self._stored_path(target)
        return path.read_bytes() if path.exists() else None

    def forget_releases(self, but: set[str]) -> None:
        """Delete the downloaded files of all releases but these (`sha256:…`)."""
        kept = tuple(quote(f"releases/{digest.removeprefix('sha256:')}/", "") for digest in but)
        for path in self._config.files.targets.glob("releases*"):
            if not path.name.startswith(kept):
                path.unlink(missing_ok=True)

    def _stored_path(self, target: str) -> Path:
        return self._config.files.targets / quote(target, "")  # where python-tuf puts it

    def _load(self, fetcher: FetcherInterface) -> Snapshot:
        base = self._config.server.rstrip("/")
        files = self._config.files
        try:
            # A new Updater each time: python-tuf reads its clock once, and refreshes once.
            updater = Updater(
                metadata_dir=str(files.metadata),
                metadata_base_url=f"{base}/tuf/metadata/",
                target_dir=str(files.targets),
                target_base_url=f"{base}/tuf/targets/",
                fetcher=fetcher,
                bootstrap=self._root,
            )
            updater.refresh()
        except DownloadError as error:
            raise Unreachable(f"cannot refresh: {_line(error)}") from error
        except (RepositoryError, OSError, ValueError) as error:
            raise Denied(Reason.METADATA_INVALID, _line(error)) from error
        self._updater = updater
        pointer = self._pointer()
        state = self._state()
        governance = self._governance()
        issued_at = _issued_at(files.metadata / "timestamp.json")
        self._floor.pass_over(pointer)
        return Snapshot(pointer, state, governance, issued_at)

    def _pointer(self) -> ChannelPointer:
        system, channel = self._config.system, self._config.channel
        pointer = self._document(channel_target(system, channel), ChannelPointer)
        if (pointer.system, pointer.channel) != (system, channel):
            raise Denied(Reason.METADATA_INVALID, f"the pointer is of {pointer.system}/{pointer.channel}")
        return pointer

    def _state(self) -> PublishedState:
        state = self._document(STATE_TARGET, PublishedState)
        if state.domain != self._domain:
            raise Denied(Reason.METADATA_INVALID, f"the state is of {state.domain}, the pinned root of {self._domain}")
        return state

    def _governance(self) -> SystemGovernance:
        governance = self._document(governance_target(self._config.system), SystemGovernance)
        if governance.system != self._config.system:
            raise Denied(Reason.METADATA_INVALID, f"the governance is of {governance.system}")
        return governance

    def _document(self, target: str, form: type[_Document]) -> _Document:
        raw = self.download(target)
        if raw is None:
            raise Denied(Reason.METADATA_MISSING, f"the control plane publishes no {target}")
        try:
            return form.model_validate_json(raw)
        except ValidationError as error:
            raise Denied(Reason.METADATA_INVALID, f"{target}: {complaint(error)}") from error


class _Floor:
    """The highest pointer seen, kept across restarts: TUF alone cannot tell a rollback by its own server."""

    def __init__(self, path: Path, minimum: int) -> None:
        self._path = path
        self._minimum = minimum
        try:
            self._seen = ChannelPointer.model_validate_json(path.read_bytes()) if path.exists() else None
        except ValidationError as error:
            raise PlacetError(
                f"{path} is damaged; delete it, and give --minimum-sequence the sequence in force"
            ) from error

    def pass_over(self, pointer: ChannelPointer) -> None:
        """Refuse a pointer that is older than one already seen, or another one of the same sequence."""
        if pointer.sequence < self._minimum:
            raise Denied(Reason.RELEASE_ROLLBACK, f"sequence {pointer.sequence} is below {self._minimum}")
        if self._seen == pointer:
            return
        if self._seen and pointer.sequence < self._seen.sequence:
            raise Denied(Reason.RELEASE_ROLLBACK, f"sequence {pointer.sequence} after {self._seen.sequence}")
        if self._seen and pointer.sequence == self._seen.sequence and pointer.release != self._seen.release:
            raise Denied(Reason.RELEASE_ROLLBACK, f"sequence {pointer.sequence} names two releases")
        write_atomically(self._path, pointer.encode(), mode=0o600)
        self._seen = pointer


class _HttpFetcher(FetcherInterface):
    def __init__(self, http: httpx.Client, arrived: Callable[[], None]) -> None:
        self._http = http
        self._arrived = arrived

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            with self._http.stream("GET", url) as answer:
                self._arrived()
                if answer.status_code != httpx.codes.OK:
                    raise DownloadHTTPError(f"{url}: status {answer.status_code}", answer.status_code)
                for chunk in answer.iter_raw():  # as it arrives
                    self._arrived()
                    yield chunk
        except httpx.HTTPError as error:
            raise DownloadError(f"{url}: {error or type(error).__name__}") from error


class _CacheFetcher(FetcherInterface):
    """Serves what was stored, so that python-tuf verifies it again from the root, expiry and all."""

    def __init__(self, metadata: Path) -> None:
        self._metadata = metadata

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rsplit("/", 1)[-1]
        role = name.removesuffix(".json").rsplit(".", 1)[-1]
        path = self._metadata / f"{role}.json"
        if role == "root" or "/tuf/metadata/" not in url or not path.exists():
            raise DownloadHTTPError(f"{name} is not stored", 404)
        yield path.read_bytes()


def _domain(root: bytes) -> str:
    """The trust domain that the pinned root names. Raises `PlacetError`."""
    try:
        domain = Metadata[Root].from_bytes(root).signed.unrecognized_fields[DOMAIN]
    except (RepositoryError, KeyError) as error:
        raise PlacetError(
            "the TUF root is no control plane's of this version: it names no trust domain; make a new control plane "
            "with `placet server init`, and pin its root"
        ) from error
    return str(domain)


def _issued_at(path: Path) -> float:
    """The signed time of issue. The file was just verified and stored by python-tuf."""
    try:
        text = Metadata[Timestamp].from_file(str(path)).signed.unrecognized_fields[ISSUED_AT]
        issued = datetime.fromisoformat(text)
        if issued.tzinfo is None:
            raise ValueError("no time zone")
    except (KeyError, TypeError, ValueError, OSError, RepositoryError) as error:
        raise Denied(Reason.METADATA_INVALID, f"the timestamp says no time of issue: {_line(error)}") from error
    return issued.timestamp()


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
