"""The records of a signed batch: that they are what its statement says, and what is stored of them.

All of it is work on bytes, which needs neither database nor network, so that another process may do it
(`app.control.batch_readers`); what such a process must import is therefore kept small.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from app.control import record_lines, value_counts
from app.control.problems import Invalid, Problem, TooLarge
from app.control.record_rows import COLUMNS, Counts, Read
from app.control.value_counts import Tally
from app.core import merkle, record_frames, usual_record
from app.core.batch import BatchStatement
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.usual_record import Usual

#: Bytes of one batch, before and after decompression.
MAX_BATCH = 16 * 1024 * 1024

STEP = "decision batch"

_ID, _POSITION = COLUMNS.index("decision_id"), COLUMNS.index("position")


@dataclass(frozen=True)
class Reading:
    """What is stored of a batch whose records are those that its statement commits to."""

    #: SHA-256 of the records, hexadecimal.
    digest: str
    salts: bytes
    #: The leaf hashes, one after the other.
    leaves: bytes
    #: The records in frames.
    packed: bytes
    words: bytes
    #: Values of `record_rows.COLUMNS`.
    rows: list[tuple[Any, ...]]
    #: The positions of those whose record has no id of its own: they have one that is made of the bytes.
    unnamed: frozenset[int]
    values: dict[str, Tally]
    #: Columns of the batch.
    summary: dict[str, int | None]
    counts: Counts

    def named(self) -> list[tuple[Any, ...]]:
        """The rows whose records have ids of their own."""
        return [row for row in self.rows if row[_POSITION] not in self.unnamed] if self.unnamed else self.rows


def decompress(body: bytes, limit: int = MAX_BATCH) -> bytes:
    """A gzip body, bounded by what comes out of it. Raises `Invalid`, or `TooLarge` beyond `limit` bytes."""
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise Invalid(f"the body is not gzip: {error}") from error
    if len(plain) > limit:
        raise TooLarge(f"a batch may have {limit} bytes after decompression; send a shorter one")
    if not stream.eof or stream.unused_data:
        raise Invalid("the gzip body is cut short, or something follows it")
    return plain


def read(system: str, sidecar: str, batch: BatchStatement, records: str, salts: str) -> Reading:
    """Read the records, base64 of gzip. No more is decompressed than the statement speaks of. Raises `Denied`."""
    length = batch.last_byte - batch.first_byte
    if length > MAX_BATCH:
        raise Denied(Reason.BATCH_MALFORMED, f"a batch has at most {MAX_BATCH} bytes", step=STEP)
    raw = _decoded(records, "records", lambda body: decompress(body, length))
    salt = _decoded(salts, "salts", bytes)
    if len(raw) != length or not raw.endswith(b"\n"):
        raise _root(f"{len(raw)} bytes of records, not {length} bytes of whole lines")
    if (count := raw.count(b"\n")) != batch.entries:
        raise _root(f"{count} entries, not {batch.entries}")
    entries = raw.split(b"\n")
    entries.pop()  # behind the last newline there is nothing
    try:
        leaves = merkle.leaf_hashes(salt, entries)
    except ValueError as error:
        raise _root(str(error)) from error
    usual = usual_record.read_all(entries)
    _require_same(batch, entries, leaves, usual)
    made = Read(system, sidecar, entries, usual)
    rows = list(made.rows())
    packed = record_frames.pack(entries)
    digest = sha256(raw).hexdigest()
    values = value_counts.of_rows(rows, COLUMNS)
    placed = ((row[_POSITION], row[_ID]) for row in rows)
    unnamed = frozenset(at for at, given in placed if not record_lines.has_own_id(given, entries[at]))
    leaf_hashes, summary = b"".join(leaves), made.summary()
    return Reading(digest, salt, leaf_hashes, packed, made.words, rows, unnamed, values, summary, made.counts)


def _require_same(
    batch: BatchStatement, entries: list[bytes], leaves: list[bytes], usual: Sequence[Usual | None]
) -> None:
    """Root, counts and digests, computed anew."""
    other = batch.differing(entries, leaves, usual)
    if "root" in other:
        raise _root("the root over these records and salts is another one")
    if other:
        raise _root(f"the records say otherwise of {', '.join(other)}")


def _decoded(text: str, name: str, form: Callable[[bytes], bytes]) -> bytes:
    try:
        return form(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise _root(f"{name}: not base64") from error
    except Problem as error:
        raise _root(f"{name}: {error}") from error


def _root(detail: str) -> Denied:
    return Denied(Reason.BATCH_ROOT, detail, step=STEP)
