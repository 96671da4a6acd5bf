"""Decision batches: the statement by which a sidecar commits to consecutive entries of a record file.

Its form is in docs/decision-batch.md. An entry is one line without its newline, a decision record or anything else
that OPA wrote. The statement is RFC 8785 bytes; whoever reads one demands exactly those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from app.core import merkle, statements, strict_json
from app.core.batch_form import MAX_ENTRIES, PREDICATE, Predicate
from app.core.complaint import complaint, place
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.record_entry import read_entries, read_entry
from app.core.usual_record import Usual

SUBJECT = "decision-batch"

#: Bytes of one batch, newlines included; a single longer entry is a batch of its own.
MAX_BYTES = 2 * 1024 * 1024

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class BatchStatement:
    """What a batch says. `describe` makes one of entries, `read` one of a statement; `matches` compares the two."""

    #: The SPIFFE ID of the sidecar, which is also the identity of the certificate that signs.
    sidecar: str
    instance: str
    #: The record file's name, without its directory.
    file: str
    #: The number of the first entry over the whole life of the instance, and how many there are.
    first_entry: int
    entries: int
    #: The range [first_byte, last_byte) of the record file, newlines included.
    first_byte: int
    last_byte: int
    #: 64 hexadecimal digits.
    root: str
    #: `payload_digest` of the instance's last batch; None for the first.
    previous: str | None
    #: Decision records that allow, those that do not, and entries that are no decision record.
    allows: int
    denials: int
    others: int
    #: Records that OPA reported as dropped.
    dropped: int
    policies: tuple[str, ...]
    libraries: tuple[str, ...]
    states: tuple[str, ...]
    #: The digest of the OPA binary.
    opa: str
    #: UTC, in whole seconds.
    closed_at: datetime

    @property
    def next_entry(self) -> int:
        """The number of the first entry after this batch."""
        return self.first_entry + self.entries

    @classmethod
    def describe(
        cls,
        *,
        sidecar: str,
        instance: str,
        file: str,
        first_entry: int,
        first_byte: int,
        entries: Sequence[bytes],
        leaves: Sequence[bytes],
        previous: str | None,
        opa: str,
        closed_at: datetime,
        dropped: int = 0,
    ) -> BatchStatement:
        """The batch of `entries`, raw lines without their newlines, whose leaf hashes are `leaves`.

        Raises `Denied` for what would be no batch: such as too many entries, or as many leaves as do not fit.
        """
        batch = cls(
            sidecar=sidecar,
            instance=instance,
            file=file,
            first_entry=first_entry,
            first_byte=first_byte,
            previous=previous,
            dropped=dropped,
            opa=opa,
            closed_at=closed_at.astimezone(UTC).replace(microsecond=0),
            **_said(entries, leaves, first_byte),
        )
        return cls.read(batch.statement())

    @classmethod
    def read(cls, statement: bytes | Mapping[str, Any]) -> BatchStatement:
        """Read a statement: its bytes, which must be the RFC 8785 ones, or what they were parsed to.

        Raises `Denied` with `batch.malformed`.
        """
        if isinstance(statement, bytes):
            try:
                document: Mapping[str, Any] = strict_json.load_object(statement)
            except strict_json.StrictJSONError as error:
                raise _malformed(str(error)) from error
        else:
            document = statement
        if set(document) != {"_type", "subject", "predicateType", "predicate"}:
            raise _malformed("not the members of an in-toto statement")
        if document["_type"] != statements.STATEMENT or document["predicateType"] != PREDICATE:
            raise _malformed(f"not a statement of type {PREDICATE}", "predicateType")
        try:
            predicate = Predicate.model_validate(document["predicate"])
        except ValidationError as error:
            raise Denied(Reason.BATCH_MALFORMED, complaint(error), step="batch", field=place(error)) from error
        batch = cls._of(predicate)
        if document["subject"] != [statements.resource(SUBJECT, batch.root)]:
            raise _malformed("the subject is not the root", "subject")
        if isinstance(statement, bytes) and batch.statement() != statement:
            raise _malformed("not RFC 8785 bytes")
        return batch

    def statement(self) -> bytes:
        """The statement, as the bytes that are signed."""
        predicate = {
            "sidecar": self.sidecar,
            "instance": self.instance,
            "file": self.file,
            "entries": {"first": str(self.first_entry), "count": str(self.entries)},
            "bytes": {"first": str(self.first_byte), "last": str(self.last_byte)},
            "root": self.root,
            "previous": self.previous,
            "allows": str(self.allows),
            "denials": str(self.denials),
            "others": str(self.others),
            "dropped": str(self.dropped),
            "policies": list(self.policies),
            "libraries": list(self.libraries),
            "states": list(self.states),
            "opa": self.opa,
            "closed_at": self.closed_at.strftime(_TIME),
        }
        return statements.statement([statements.resource(SUBJECT, self.root)], PREDICATE, predicate)

    def differing(
        self, entries: Sequence[bytes], leaves: Sequence[bytes], usual: Sequence[Usual | None] = ()
    ) -> list[str]:
        """The members of which these entries and their leaves say otherwise. Raises `Denied` for what is no entry.

        `usual`: the entries as `usual_record.read` reads them, where that was done already.
        """
        found = _said(entries, leaves, self.first_byte, usual)
        return [name for name, value in found.items() if getattr(self, name) != value]

    def matches(self, entries: Sequence[bytes], leaves: Sequence[bytes]) -> bool:
        """Whether everything that this batch says of its entries is what these entries and their leaves say."""
        try:
            return not self.differing(entries, leaves)
        except Denied:
            return False

    @classmethod
    def _of(cls, predicate: Predicate) -> BatchStatement:
        try:
            closed_at = datetime.strptime(predicate.closed_at, _TIME).replace(tzinfo=UTC)
        except ValueError as error:
            raise _malformed("there is no such time", "closed_at") from error
        batch = cls(
            sidecar=predicate.sidecar,
            instance=predicate.instance,
            file=predicate.file,
            first_entry=int(predicate.entries.first),
            entries=int(predicate.entries.count),
            first_byte=int(predicate.bytes.first),
            last_byte=int(predicate.bytes.last),
            root=predicate.root,
            previous=predicate.previous,
            allows=int(predicate.allows),
            denials=int(predicate.denials),
            others=int(predicate.others),
            dropped=int(predicate.dropped),
            policies=tuple(predicate.policies),
            libraries=tuple(predicate.libraries),
            states=tuple(predicate.states),
            opa=predicate.opa,
            closed_at=closed_at,
        )
        batch._check()
        return batch

    def _check(self) -> None:
        """What the form of the members alone does not say."""
        length = self.last_byte - self.first_byte
        if not 1 <= self.entries <= MAX_ENTRIES:
            raise _malformed(f"a batch has 1 to {MAX_ENTRIES} entries", "entries.count")
        if length < self.entries or (length > MAX_BYTES and self.entries > 1):
            raise _malformed(f"{self.entries} entries in {length} bytes", "bytes")
        if self.allows + self.denials + self.others != self.entries:
            raise _malformed("allows, denials and others are not as many as the entries", "entries.count")
        if (self.previous is None) != (self.first_entry == 0):
            raise _malformed("the first batch of an instance, and no other, has none before it", "previous")
        for name, digests in (("policies", self.policies), ("libraries", self.libraries), ("states", self.states)):
            if digests != _sorted(digests):
                raise _malformed("not sorted, or one stands twice", name)


def _said(
    entries: Sequence[bytes], leaves: Sequence[bytes], first_byte: int, usual: Sequence[Usual | None] = ()
) -> dict[str, Any]:
    """What entries and their leaf hashes say: members of a batch that begins at that byte."""
    if len(entries) != len(leaves):
        raise _malformed(f"{len(entries)} entries, but {len(leaves)} leaves", "entries")
    if any(b"\n" in entry for entry in entries):
        raise _malformed("an entry is one line, without its newline", "entries")
    read = [*read_entries(entries, usual)] if usual else [*map(read_entry, entries)]
    decisions = [one for one in read if one is not None]
    allows = sum(one.allow for one in decisions)
    return {
        "entries": len(entries),
        "last_byte": first_byte + sum(map(len, entries)) + len(entries),
        "root": merkle.root(leaves).hex(),
        "allows": allows,
        "denials": len(decisions) - allows,
        "others": len(read) - len(decisions),
        "policies": _sorted({one.policy for one in decisions}),
        "libraries": _sorted({one.library for one in decisions}),
        "states": _sorted({one.state for one in decisions}),
    }


def payload_digest(statement: bytes) -> str:
    """The digest by which the next batch names this one: of the signed bytes, whichever signature they carry."""
    return f"sha256:{sha256(statement).hexdigest()}"


def _sorted(digests: Any) -> tuple[str, ...]:
    return tuple(sorted({digest for digest in digests if digest is not None}))


def _malformed(detail: str, field: str | None = None) -> Denied:
    return Denied(Reason.BATCH_MALFORMED, f"{field}: {detail}" if field else detail, step="batch", field=field)
