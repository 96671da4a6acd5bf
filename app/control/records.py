"""Take records from sidecars: bytes [first, last) of one record file, acknowledged after a durable commit.

A file's batches follow each other without a gap. The object is stored first, then one transaction; a repeat of
a stored batch gets the same answer, a repeat with other bytes does not. Here they come without a signature, which a
control plane with a lineage log takes no more: see `app.control.batches`, which stores its rows in the same way.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from app.control import record_lines, systems
from app.control.plane import Plane
from app.control.problems import Conflict, Invalid, TooLarge
from app.control.store import Batch, Decision
from app.control.store.bulk import add_rows
from app.control.store.columns import now
from app.core.errors import Denied
from app.core.reason_codes import Reason

#: Bytes of one batch, before and after decompression.
MAX_BATCH = 16 * 1024 * 1024

_ROWS_AT_ONCE = 1000
_DECISIONS = Decision.metadata.tables["decision"]

#: How many lines there are of each (outcome, reason or mode; its name).
Counts = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Span:
    """Which bytes of which file of which sidecar a batch holds."""

    system: str
    sidecar: str
    instance: str
    file: str
    first: int
    last: int


def object_key(span: Span, digest: str) -> str:
    """Where the bytes of a batch, whose SHA-256 is `digest`, lie in the object store."""
    return f"records/{span.system}/{span.sidecar}/{span.instance}/{span.file}/{span.first:020d}-{digest}.jsonl"


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


def ingest(plane: Plane, span: Span, body: bytes) -> int:
    """Store a batch durably and return the byte up to which the sidecar may forget the file."""
    if plane.verify_batch is not None:
        raise Denied(Reason.RECORD_UNSIGNED, "this control plane takes records in signed batches only")
    _check_form(span, body)
    digest = sha256(body).hexdigest()
    with plane.store.read() as session:
        systems.find(session, span.system)
        if _is_known(session, span, digest):
            return span.last

    key = object_key(span, digest)
    plane.objects.put(key, body)
    try:
        with plane.store.write() as session:
            if _is_known(session, span, digest):
                return span.last
            counts = Counts()
            rows = read_rows(span.system, span.sidecar, body, counts)
            insert_rows(session, Batch(**asdict(span), sha256=digest, object=key, other_lines=0), rows, counts)
    except IntegrityError:
        # Another request stored a batch of this place between our look and our insert.
        with plane.store.read() as session:
            if _is_known(session, span, digest):
                return span.last
        raise
    count(plane, span.system, counts)
    return span.last


def _check_form(span: Span, body: bytes) -> None:
    if span.last - span.first != len(body):
        raise Invalid(f"the body has {len(body)} bytes, but first and last span {span.last - span.first}")
    if not body.endswith(b"\n"):
        raise Invalid("a batch ends with a whole line")


def _is_known(session: Session, span: Span, digest: str) -> bool:
    """Whether the batch is stored already. Raises `Conflict` unless it is, or is the next one of its file."""
    where = (
        Batch.system == span.system,
        Batch.sidecar == span.sidecar,
        Batch.instance == span.instance,
        Batch.file == span.file,
    )
    expected = session.exec(select(func.max(Batch.last)).where(*where)).one() or 0
    if span.first == expected:
        return False
    same = session.exec(select(Batch).where(*where, Batch.first == span.first)).first()
    if same is not None and (same.last, same.sha256) == (span.last, digest):
        return True
    if span.first > expected:
        raise Conflict(f"bytes {expected} to {span.first} of this file are missing", expected=expected)
    raise Conflict(f"byte {span.first} of this file is stored already, in another batch", expected=expected)


def read_rows(system: str, sidecar: str, body: bytes, counts: Counts) -> Iterator[dict[str, Any]]:
    """A row for each decision in `body`, but for its batch; `counts` gets what `count` is to count.

    No line makes it fail: what cannot be read, or be stored as it is, is in the object.
    """
    received_ns = int(now().timestamp() * 1_000_000) * 1000
    for line in record_lines.read_lines(body):
        counts["outcome", line.outcome if line else "other"] += 1
        if line is None:
            continue
        if line.mode:
            counts["mode", line.mode] += 1
        if line.outcome == "deny":
            counts.update(("reason", reason) for reason in line.reasons)
        row = dict(vars(line))
        row.update(system=system, sidecar=sidecar)
        row["time_ns"] = received_ns if line.time_ns is None else line.time_ns
        yield row


def insert_rows(session: Session, batch: Batch, rows: Iterable[dict[str, Any]], counts: Counts) -> None:
    """Add a batch and the rows of its decisions, as `read_rows` makes them while they are inserted, or made them."""
    session.add(batch)
    session.flush()
    more = iter(rows)
    while chunk := list(islice(more, _ROWS_AT_ONCE)):
        add_rows(session, _DECISIONS, [{**row, "batch": batch.id} for row in chunk])
    batch.other_lines = counts["outcome", "other"]


def count(plane: Plane, system: str, counts: Counts) -> None:
    """Count what was stored, for Prometheus."""
    for (kind, name), number in counts.items():
        if kind == "outcome":
            plane.metrics.records.labels(system, name).inc(number)
        elif kind == "mode":
            plane.metrics.count_uses(system, name, number)
        else:
            plane.metrics.count_denials(name, number)
