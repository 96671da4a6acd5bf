"""The notes of decision batches: what a batch commits to, on disk before anybody signs it.

Whoever signs two statements for one range of records forks the lineage, for salts are random. So a batch is made
once and noted; after a crash the very same statement is signed and shipped again. A note goes when a later batch was
acknowledged: the last one stays, since the next batch goes on where it ends and names its digest.
"""

from __future__ import annotations

import base64
import binascii
import itertools
from dataclasses import dataclass
from pathlib import Path

from app.core import merkle, strict_json
from app.core.batch import BatchStatement, payload_digest
from app.core.errors import Denied, PlacetError
from app.core.files import sync_directory, write_atomically
from app.sidecar.config import SidecarFiles
from app.sidecar.shipper import Progress, read_range
from app.sidecar.statement_signer import Unsigned

_MEMBERS = {"statement", "digest", "salts"}


@dataclass(frozen=True)
class Batch:
    """One batch as it was noted."""

    says: BatchStatement
    #: The statement's bytes, which are signed, and their digest.
    statement: bytes
    digest: str
    #: The salts of all entries, one after the other.
    salts: bytes

    @classmethod
    def of(cls, says: BatchStatement, salts: bytes) -> Batch:
        """The batch that says this."""
        statement = says.statement()
        return cls(says, statement, payload_digest(statement), salts)

    def to_sign(self) -> Unsigned:
        """What is signed."""
        return Unsigned(self.statement, f"sha256:{self.says.root}", self.says.sidecar)

    @property
    def name(self) -> str:
        """The note's name. Names sort as the batches follow each other."""
        return f"{self.says.file.removesuffix('.log')}-{self.says.first_byte:020d}.json"

    def raw(self, records: Path) -> bytes:
        """The records of this batch, from the directory of record files."""
        return read_range(records / self.says.file, self.says.first_byte, self.says.last_byte)

    def entries(self, records: Path) -> list[bytes]:
        """The same, each without its newline."""
        return self.raw(records)[:-1].split(b"\n")

    def check(self, records: Path) -> None:
        """Raise `PlacetError` when the records are no longer what this batch commits to."""
        entries = self.entries(records)
        try:
            whole = self.says.matches(entries, merkle.leaf_hashes(self.salts, entries))
        except ValueError:  # as many salts as there were entries, and now there are not as many
            whole = False
        if not whole:
            says = self.says
            raise PlacetError(
                f"bytes {says.first_byte} to {says.last_byte} of {records / says.file} are not the records that "
                f"were noted in {self.name}; the lineage of this sidecar is broken"
            )


class Notes:
    """The notes of one instance of a sidecar. One thread at a time may use them.

    A new instance begins after what was acknowledged, and looks at no note of an earlier one.
    """

    def __init__(self, files: SidecarFiles) -> None:
        self.instance = files.instance()
        self.directory = files.batches / self.instance
        self.records = files.records
        self._instance_file = files.instance_file
        #: What was not acknowledged yet, oldest first.
        self.pending: list[Batch] = []
        #: The batch after which the next one follows; None before the first of the instance.
        self.last: Batch | None = None
        self._kept: list[Batch] = []

    def load(self) -> None:
        """Read what is on disk. Raises `PlacetError` when it is damaged or does not fit together."""
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.directory.parent)
            sync_directory(self.directory.parent.parent)
        except OSError as error:
            raise PlacetError(f"cannot use {self.directory}: {error.strerror}") from error
        for unfinished in self.directory.glob(".*"):
            unfinished.unlink()  # a note that an earlier agent was writing when it was killed
        batches = [self._read(path) for path in sorted(self.directory.glob("*-*.json"))]
        for before, after in itertools.pairwise(batches):
            if not _follows(before, after):
                path = self.directory / after.name
                raise PlacetError(f"{path} is damaged (it does not follow the one before it); {self._advice()}")
        # Batches are acknowledged in order: whichever is, all before it are.
        acknowledged = [number for number, batch in enumerate(batches, 1) if self._is_acknowledged(batch)]
        self._kept = batches
        self.pending = batches[max(acknowledged, default=0) :]
        self.last = batches[-1] if batches else None
        for batch in self.pending:
            batch.check(self.records)

    def add(self, batch: Batch) -> None:
        """Keep a new batch. When this returns, it survives a crash of the machine."""
        document = {
            "statement": batch.statement.decode(),
            "digest": batch.digest,
            "salts": base64.b64encode(batch.salts).decode(),
        }
        write_atomically(self.directory / batch.name, strict_json.canonical(document), mode=0o600)
        self._kept.append(batch)
        self.pending.append(batch)
        self.last = batch

    def acknowledge(self, batch: Batch) -> None:
        """The control plane holds the oldest batch that was pending."""
        assert self.pending[0] is batch
        path = self.records / batch.says.file
        Progress(path).acknowledge(batch.says.last_byte)
        self.pending.pop(0)
        while self._kept[0] is not batch:
            (self.directory / self._kept.pop(0).name).unlink(missing_ok=True)

    def _is_acknowledged(self, batch: Batch) -> bool:
        """A record file is deleted only when all of it was acknowledged."""
        path = self.records / batch.says.file
        return not path.exists() or Progress(path).acknowledged >= batch.says.last_byte

    def _read(self, path: Path) -> Batch:
        try:
            document = strict_json.load_object(path.read_bytes())
            if document.keys() != _MEMBERS:
                raise ValueError(f"its members are {sorted(document)}")
            statement = document["statement"].encode()
            salts = base64.b64decode(document["salts"], validate=True)
            batch = Batch.of(BatchStatement.read(statement), salts)
            noted = (document["digest"], path.name, self.instance)
            if (batch.digest, batch.name, batch.says.instance) != noted:
                raise ValueError("it is not about this batch")
            if len(salts) != merkle.SALT * batch.says.entries:
                raise ValueError("it has not one salt for each entry")
        except (Denied, ValueError, AttributeError, TypeError, binascii.Error) as error:
            raise PlacetError(f"{path} is damaged ({error}); {self._advice()}") from error
        return batch

    def _advice(self) -> str:
        return f"restore it, or delete {self._instance_file} to go on as a new instance"


def _follows(before: Batch, after: Batch) -> bool:
    one, other = before.says, after.says
    if one.file == other.file and one.last_byte != other.first_byte:
        return False
    return other.first_entry == one.next_entry and other.previous == before.digest
