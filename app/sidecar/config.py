"""What a sidecar is told when it starts, and where it keeps its files."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import PlacetError
from app.core.file_lock import AlreadyLocked, file_lock
from app.core.files import write_atomically
from app.core.trust import TrustConfig
from app.core.verification_policy import VerificationPolicy

MIB = 1024 * 1024


@dataclass(frozen=True)
class SidecarConfig:
    """The settings of one sidecar. Times are in seconds, sizes in bytes."""

    system: str
    channel: str
    name: str
    server: str
    policy: VerificationPolicy
    files: SidecarFiles
    #: Where services reach OPA, on loopback.
    port: int = 8181
    #: How long a lease holds.
    lease_ttl: float = 10.0
    #: How often it is renewed; None: every third of its TTL.
    lease_renewal: float | None = None
    #: How often the metadata is refreshed.
    refresh_interval: float = 2.0
    #: A pointer of a lower sequence is refused even on the first start.
    minimum_sequence: int = 1
    #: Space kept free for records; without all of it no lease is renewed.
    reserve: int = 256 * MIB
    #: How much all record files and the reserve may take together.
    record_space: int = 4096 * MIB
    server_ca: Path | None = None
    #: Where services start executions and ask in AuthZEN's form, on loopback; None: nowhere.
    edge_port: int | None = None
    #: The Sigstore instance whose log holds this sidecar's batches; None: records go unsigned.
    lineage: TrustConfig | None = None

    @property
    def renewal(self) -> float:
        """Seconds between two renewals of the lease."""
        return self.lease_renewal or self.lease_ttl / 3


@dataclass(frozen=True)
class SidecarFiles:
    """The sidecar's directory. Only `ca.pem` is for other users: services pin OPA's certificate with it."""

    root: Path

    @property
    def ca(self) -> Path:
        """The certificate of the sidecar's own CA."""
        return self.root / "ca.pem"

    @property
    def socket(self) -> Path:
        """OPA's unix socket, in a directory of mode 0700."""
        return self.run / "opa.sock"

    @property
    def edge_socket(self) -> Path:
        """The unix socket of the agent's own API, in a directory of mode 0700."""
        return self.run / "edge.sock"

    @property
    def instance_file(self) -> Path:
        """What holds the instance id. Who deletes it goes on as a new instance."""
        return self.private / "instance"

    @property
    def execution_keys(self) -> Path:
        """The keys that sign execution tokens."""
        return self.private / "execution-keys.json"

    @property
    def running(self) -> Path:
        """The executions that run, and what they rest on."""
        return self.private / "executions.db"

    @property
    def masking_key(self) -> Path:
        """The key of digests in records, under which values are hashed that rules keep out."""
        return self.private / "masking-key"

    @property
    def run(self) -> Path:
        """What belongs to one start of OPA: configuration, certificates, socket."""
        return self.root / "run"

    @property
    def private(self) -> Path:
        """What outlives a start and is secret or must not be forged: the CA's key, what was seen before."""
        return self.root / "private"

    @property
    def records(self) -> Path:
        """OPA's records, one file for each OPA process."""
        return self.root / "records"

    @property
    def batches(self) -> Path:
        """What decision batches commit to, noted before they are signed."""
        return self.root / "batches"

    @property
    def metadata(self) -> Path:
        """TUF metadata, as last verified."""
        return self.root / "metadata"

    @property
    def targets(self) -> Path:
        """Downloaded targets. They are verified again whenever they are read."""
        return self.root / "targets"

    @property
    def states(self) -> Path:
        """Every trust state that was ever in force, by digest."""
        return self.root / "states"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the directories, and keep every other agent from them. Raises `PlacetError` when one uses them."""
        self.prepare()
        with ExitStack() as lock:
            try:
                lock.enter_context(file_lock(self.private / "lock"))
            except AlreadyLocked as error:
                raise PlacetError(f"another agent uses {self.root}; end it, or give another --dir") from error
            yield

    def prepare(self) -> None:
        """Make the directories. Existing ones must belong to this user."""
        try:
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
            own = (self.run, self.private, self.records, self.batches)
            for directory in (*own, self.metadata, self.targets, self.states):
                directory.mkdir(mode=0o700, exist_ok=True)
            for directory in (self.root, *own):
                found = directory.stat()
                if found.st_uid != os.geteuid():
                    raise PlacetError(f"{directory} belongs to another user")
                if found.st_mode & 0o022:
                    raise PlacetError(f"others can write to {directory}; run: chmod go-w {directory}")
        except OSError as error:
            raise PlacetError(f"cannot use {self.root}: {error.strerror}") from error

    def instance(self) -> str:
        """This sidecar's instance id: made on the first start, and so new after a wiped disk."""
        path = self.instance_file
        if not path.exists():
            write_atomically(path, uuid.uuid4().hex.encode(), mode=0o600)
        instance = path.read_text(errors="replace").strip()
        if not re.fullmatch(r"[0-9a-f]{32}", instance):
            raise PlacetError(f"{path} is damaged; delete it to go on as a new instance")
        return instance
