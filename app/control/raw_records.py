"""The raw records of batches in the object store: put in frames (`app.core.record_frames`), read whole or one by one.

A decision's `position` is the number of its entry in the batch. Batches stored before there were frames are the plain
lines (`.jsonl`); of those it is the byte at which the line begins, until `without` puts them into frames.

Objects never change: erasing makes new ones, and whoever erases names them in the batch's row and removes the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, NoReturn, Protocol

from app.control.objects import Objects
from app.control.problems import Problem, Unavailable
from app.core import merkle, record_frames
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.record_frames import PLAIN, SUFFIX, Sifted

#: Bytes that are read of an object first: the head of most.
_BEGIN = 1024

Entries = list[bytes | None]


class Changed(Problem):
    """What is stored is not what was stored. Only `placet server fsck` can say more."""

    status: ClassVar[int] = 500


@dataclass(frozen=True)
class Span:
    """Which bytes of which file of which sidecar a batch holds."""

    system: str
    sidecar: str
    instance: str
    file: str
    first: int
    last: int


class Named(Protocol):
    """A batch, as far as it names its records: a row, or what else is known of it."""

    @property
    def object(self) -> str:
        """The key of its records."""


@dataclass(frozen=True)
class Rewritten:
    """A batch's objects after an erasure, which are stored and which no row names yet."""

    object: str
    #: None of a batch without salts.
    salts: str | None
    #: The entry's number by the position before, of a batch that was plain; None where positions stay.
    moved: dict[int, int] | None


def object_key(span: Span, digest: str, form: str = SUFFIX) -> str:
    """Where the records of a batch lie in the object store, in an object whose SHA-256 is `digest`."""
    return f"records/{span.system}/{span.sidecar}/{span.instance}/{span.file}/{span.first:020d}-{digest}{form}"


def put(objects: Objects, span: Span, entries: Sequence[bytes | None]) -> str:
    """Store the entries of a batch, lines without newlines; None for erased ones. Gives the object's key."""
    return put_packed(objects, span, record_frames.pack(entries))


def put_packed(objects: Objects, span: Span, body: bytes) -> str:
    """The same of entries that are in frames already."""
    key = object_key(span, sha256(body).hexdigest())
    objects.put(key, body)
    return key


def entries(objects: Objects, batch: Named) -> Entries:
    """All entries of a batch, by number; None for each erased one. Raises `NotFound`, `Unavailable`, `Changed`."""
    return unpack(batch.object, objects.get(batch.object))


def unpack(key: str, body: bytes) -> Entries:
    """The entries of an object of this key. Raises `Changed`."""
    with _undamaged(key):
        return record_frames.entries_of(key, body)


def sift(
    objects: Objects, batch: Named, may_hold: Callable[[bytes], bool], groups: int = record_frames.ALL_GROUPS
) -> Sifted:
    """The entries of some groups of a batch that are not ruled out. Raises `NotFound`, `Unavailable`, `Changed`."""
    body = objects.get(batch.object)
    with _undamaged(batch.object):
        return record_frames.sift(batch.object, body, may_hold, groups)


@contextmanager
def _undamaged(key: str) -> Iterator[None]:
    """What reads an object of this key finds it damaged: it was changed."""
    try:
        yield
    except record_frames.Damaged as damaged:
        raise Changed(f"the stored records {key} were changed: {damaged}") from damaged


def read(objects: Objects, batch: Named, position: int) -> bytes:
    """The record at a decision's position, reading little else.

    Raises `NotFound`, `Unavailable`, `Changed`; `Denied` with `record.erased`.
    """
    key = batch.object
    if key.endswith(PLAIN):
        found: bytes | None = _line(objects, key, position)
    else:
        try:
            with _undamaged(key):
                found = _entry(objects, key, position)
        except Unavailable:
            # So answers, too, what was cut short; the whole object tells the two apart.
            whole = entries(objects, batch)
            found = whole[position] if 0 <= position < len(whole) else _nothing(key, position)
    if found is None:
        raise Denied(Reason.RECORD_ERASED, "the record was erased; its leaf in the signed batch stays", step="record")
    return found


def numbers(objects: Objects, batch: Named, positions: Collection[int]) -> dict[int, int]:
    """The number in the batch of the entry at each position. Raises `NotFound`, `Unavailable`, `Changed`."""
    if not batch.object.endswith(PLAIN):
        return {position: position for position in positions}
    begin_of = dict(begins(entries(objects, batch)))
    try:
        return {position: begin_of[position] for position in positions}
    except KeyError as error:
        raise Changed(f"no entry of {batch.object} begins at byte {error}") from error


def without(
    objects: Objects, span: Span, batch: Named, salts: str | None, erased: Collection[int], received: str = ""
) -> Rewritten:
    """Store a batch's records and salts anew, without the entries of these numbers (not positions) and their salts.

    `received`: the SHA-256 of the batch's lines as they came, where it is known still.
    What was erased before stays so, and the same call makes the same objects. Raises `NotFound`, `Unavailable`, and
    `Changed`, also for a number that is no entry's: rows and object were stored together.
    """
    there = _unchanged(objects, batch, received)
    try:
        left = record_frames.without(there, erased)
    except ValueError as error:
        raise Changed(f"the stored records {batch.object} were changed: {error}") from error
    key = put(objects, span, left)
    salts_key = None
    if salts is not None:
        body = bytearray(objects.get(salts))
        if len(body) != merkle.SALT * len(left):
            raise Changed(f"the stored salts {salts} were changed: there are not as many as entries")
        if sha256(body).hexdigest() != salts.rpartition("/")[2]:
            raise Changed(f"the stored salts {salts} were changed: they have another digest")
        for number, entry in enumerate(left):
            if entry is None:
                body[merkle.SALT * number : merkle.SALT * (number + 1)] = bytes(merkle.SALT)
        salts_key = f"salts/{span.system}/{sha256(body).hexdigest()}"
        objects.put(salts_key, bytes(body))
    return Rewritten(key, salts_key, dict(begins(there)) if batch.object.endswith(PLAIN) else None)


def _unchanged(objects: Objects, batch: Named, received: str) -> Entries:
    """All entries, of an object that is as it was stored: the name of a new one would vouch for what was changed."""
    key = batch.object
    body = objects.get(key)
    found = unpack(key, body)
    if sha256(body).hexdigest() != key.rpartition("-")[2].removesuffix(PLAIN).removesuffix(SUFFIX):
        raise Changed(f"the stored records {key} were changed: they have another digest")
    # After an erasure the row has none, nor could it: some of the lines are gone.
    if received and received_digest(found) != received:
        raise Changed(f"the stored records {key} are not those that were received")
    return found


def received_digest(lines: Entries) -> str:
    """The SHA-256 of a batch's lines as they came, of which none is erased."""
    return sha256(b"\n".join([*(line or b"" for line in lines), b""])).hexdigest()


def begins(lines: Entries) -> Iterator[tuple[int, int]]:
    """The byte at which each entry of a plain batch begins, and its number."""
    at = 0
    for number, line in enumerate(lines):
        yield at, number
        at += len(line or b"") + 1


def line_at(body: bytes, begin: int) -> bytes:
    """The line of a plain batch that begins at this byte. Raises `LookupError` where none does."""
    if not 0 <= begin < len(body) or (begin and body[begin - 1 : begin] != b"\n"):
        raise LookupError(begin)
    end = body.find(b"\n", begin)
    return body[begin : len(body) if end < 0 else end]


def _line(objects: Objects, key: str, position: int) -> bytes:
    try:
        return line_at(objects.get(key), position)
    except LookupError as error:
        raise Changed(f"no entry of {key} begins at byte {position}") from error


def _entry(objects: Objects, key: str, number: int) -> bytes | None:
    begin = objects.part(key, 0, _BEGIN)
    length = record_frames.head_length(begin)
    if length > len(begin):
        begin = objects.part(key, 0, length)
    head = record_frames.read_head(begin)
    if not 0 <= number < head.entries:
        _nothing(key, number)
    frame = number // record_frames.FRAME
    start, end = head.bounds[frame], head.bounds[frame + 1]
    packed = begin[start:end] if end <= len(begin) else objects.part(key, start, end - start)
    return record_frames.read_frame(head, frame, packed)[number % record_frames.FRAME]


def _nothing(key: str, number: int) -> NoReturn:
    raise Changed(f"there is no entry {number} in {key}")
