"""Take record batches from sidecars: bytes [first, last) of one record file, acknowledged after a durable commit.

A file's batches follow each other without a gap. The object is stored first, then one transaction; a repeat of
a stored batch gets the same answer, a repeat with other bytes does not.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

from sqlalchemy import func, insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from app.control import record_lines, systems
from app.control.plane import Plane
from app.control.problems import Conflict, Invalid, TooLarge
from app.control.store import Batch, Decision
from app.control.store.columns import now

#: Bytes of one batch, before and after decompression.
MAX_BATCH = 16 * 1024 * 1024

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Span:
    """Which bytes of which file of which sidecar a batch holds."""

    system: str
    sidecar: str
    instance: str
    file: str
    first: int
    last: int


def decompress(body: bytes) -> bytes:
    """A gzip body, bounded by what comes out of it."""
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, MAX_BATCH + 1)
    except zlib.error as error:
        raise Invalid(f"the body is not gzip: {error}") from error
    if len(plain) > MAX_BATCH:
        raise TooLarge(f"a batch may have {MAX_BATCH} bytes after decompression; send a shorter one")
    if not stream.eof or stream.unused_data:
        raise Invalid("the gzip body is cut short, or something follows it")
    return plain


def ingest(plane: Plane, span: Span, body: bytes) -> int:
    """Store a batch durably and return the byte up to which the sidecar may forget the file."""
    _check_form(span, body)
    digest = sha256(body).hexdigest()
    with plane.store.read() as session:
        systems.find(session, span.system)
        if _is_known(session, span, digest):
            return span.last

    key = f"records/{span.system}/{span.sidecar}/{span.instance}/{span.file}/{span.first:020d}-{digest}.jsonl"
    plane.objects.put(key, body)
    try:
        with plane.store.write() as session:
            if _is_known(session, span, digest):
                return span.last
            counts = _insert(session, span, digest, key, body)
    except IntegrityError:
        # Another request stored a batch of this place between our look and our insert.
        with plane.store.read() as session:
            if _is_known(session, span, digest):
                return span.last
        raise
    _count(plane, span.system, counts)
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


def _insert(session: Session, span: Span, digest: str, key: str, body: bytes) -> Counter[tuple[str, str]]:
    batch = Batch(**asdict(span), sha256=digest, object=key, other_lines=0)
    session.add(batch)
    session.flush()
    received_ns = int(now().timestamp() * 1_000_000) * 1000
    counts: Counter[tuple[str, str]] = Counter()
    rows = _rows(span, batch, received_ns, body, counts)
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        session.execute(insert(Decision), chunk)
    batch.other_lines = counts["outcome", "other"]
    return counts


def _rows(
    span: Span, batch: Batch, received_ns: int, body: bytes, counts: Counter[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    for line in record_lines.read_lines(body):
        counts["outcome", line.outcome if line else "other"] += 1
        if line is None:
            continue
        if line.mode:
            counts["mode", line.mode] += 1
        if line.outcome == "deny":
            counts.update(("reason", reason) for reason in line.reasons)
        row = asdict(line)
        row.update(batch=batch.id, system=span.system, sidecar=span.sidecar)
        row["time_ns"] = received_ns if line.time_ns is None else line.time_ns
        yield row


def _count(plane: Plane, system: str, counts: Counter[tuple[str, str]]) -> None:
    for (kind, name), count in counts.items():
        if kind == "outcome":
            plane.metrics.records.labels(system, name).inc(count)
        elif kind == "mode":
            plane.metrics.count_uses(system, name, count)
        else:
            plane.metrics.count_denials(name, count)
