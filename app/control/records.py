"""Take records from sidecars: bytes [first, last) of one record file, acknowledged after a durable commit.

A file's batches follow each other without a gap. The object is stored first, then one transaction; a repeat of
a stored batch gets the same answer, a repeat with other bytes does not. Here they come without a signature, which a
control plane with a lineage log takes no more: see `app.control.batches`, which stores its rows in the same way.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from typing import Any

from sqlalchemy import func, update
from sqlalchemy import insert as add_row
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from app.control import forwarding, raw_records, record_lines, systems
from app.control.plane import Plane
from app.control.problems import Conflict, Invalid, TooLarge
from app.control.raw_records import Span
from app.control.record_lines import Line
from app.control.store import Batch, Decision, ErasedBatch, batch_words
from app.control.store.bulk import add_rows
from app.control.store.columns import now, packed_digest
from app.core import word_filter
from app.core.errors import Denied
from app.core.reason_codes import Reason

#: Bytes of one batch, before and after decompression.
MAX_BATCH = 16 * 1024 * 1024

#: The columns of a decision row, but its id and its batch.
COLUMNS = ("system", "sidecar", "position", *Line._fields)

_BATCHES, _DECISIONS = (Decision.metadata.tables[name] for name in ("batch", "decision"))
_ADD = add_row(_BATCHES)

#: How many lines there are of each (outcome, reason or mode; its name).
Counts = Counter[tuple[str, str]]


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
        detail = (
            "this control plane takes records in signed batches only: start the sidecar with --lineage-trust-config"
        )
        raise Denied(Reason.RECORD_UNSIGNED, detail)
    _check_form(span, body)
    digest = sha256(body).hexdigest()
    with plane.store.read() as session:
        systems.find(session, span.system)
        if _is_known(session, span, digest):
            return span.last

    made = Read(span.system, span.sidecar, body[:-1].split(b"\n"))
    key = raw_records.put(plane.objects, span, made.entries)
    try:
        with plane.store.write() as session:
            if _is_known(session, span, digest):
                return span.last
            batch = Batch(**asdict(span), sha256=digest, object=key, other_lines=0)
            insert(session, batch, made.words, made.rows())
            session.execute(update(_BATCHES).where(_BATCHES.c.id == batch.id).values(made.summary()))
    except IntegrityError:
        # Another request stored a batch of this place between our look and our insert.
        with plane.store.read() as session:
            if _is_known(session, span, digest):
                return span.last
        raise
    count(plane, span.system, made.counts)
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
    # After an erasure nothing tells any more what it was; a sidecar whose acknowledgement was lost sends it again.
    if same is not None and same.last == span.last and (same.sha256 == digest or _is_erased(session, same)):
        return True
    if span.first > expected:
        detail = f"bytes {expected} to {span.first} of this file are missing"
    else:
        detail = f"byte {span.first} of this file is stored already, in another batch"
    raise Conflict(detail, expected=expected, reason=str(Reason.RECORD_CONFLICT))


def _is_erased(session: Session, batch: Batch) -> bool:
    if batch.sha256 != "":
        return False
    where = (ErasedBatch.batch == batch.id, col(ErasedBatch.erased_at).is_not(None))
    return session.exec(select(ErasedBatch.id).where(*where).limit(1)).first() is not None


class Read:
    """The entries of a batch, and what is made of them."""

    def __init__(self, system: str, sidecar: str, entries: Sequence[bytes]) -> None:
        self.entries = entries
        self.words = word_filter.build(entries)
        self.counts = Counts()
        #: The least and the greatest of the rows.
        self._times: tuple[int | None, int | None] = None, None
        self._place = system, sidecar

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """A row for each decision, without its batch: values of `COLUMNS`. The counts are right when all were read.

        No entry makes it fail: what cannot be read, or be stored as it is, is in the object.
        """
        received_ns = int(now().timestamp() * 1_000_000) * 1000
        outcomes: Counter[str] = Counter()
        times = []
        for position, line in enumerate(record_lines.read_lines(self.entries)):
            if line is None:
                outcomes["other"] += 1
                continue
            outcomes[line.outcome] += 1
            if line.mode:
                self.counts["mode", line.mode] += 1
            if line.outcome == "deny":
                self.counts.update([("reason", reason) for reason in line.reasons])
            time_ns = received_ns if line.time_ns is None else line.time_ns
            times.append(time_ns)
            yield *self._place, position, *columns_of(line, time_ns)
        self.counts.update({("outcome", outcome): number for outcome, number in outcomes.items()})
        self._times = min(times, default=None), max(times, default=None)

    def summary(self) -> dict[str, int | None]:
        """Columns of the batch that are right when all rows were read."""
        of = {name: self.counts["outcome", name] for name in ("allow", "deny", "unreadable", "other")}
        return {
            "allows": of["allow"],
            "denials": of["deny"],
            "unreadable": of["unreadable"],
            "other_lines": of["other"],
            "oldest_ns": self._times[0],
            "newest_ns": self._times[1],
        }


def columns_of(line: Line, time_ns: int | None) -> tuple[Any, ...]:
    """A line as the database holds it, with the time that it is given."""
    decision_id, outcome, _, reasons, issuer, subject, action, kind, resource, policy, library, mode, execution = line
    digests = packed_digest(policy), packed_digest(library)
    text = _reasons_text(reasons)
    return decision_id, outcome, time_ns, text, issuer, subject, action, kind, resource, *digests, mode, execution


@lru_cache(maxsize=1024)
def _reasons_text(reasons: tuple[str, ...]) -> str:
    return json.dumps(reasons)


def insert(session: Session, batch: Batch, words: bytes, rows: Iterable[tuple[Any, ...]]) -> None:
    """Add a batch, with its filter, and the rows of its decisions; and give the batch its number."""
    # Past the session, which would need a statement for the batch and another one for the filter.
    values = {name: value for name, value in batch if name != "id"} | {batch_words.name: words}
    added = session.connection().execute(_ADD, values).inserted_primary_key
    assert added is not None
    batch.id = added[0]
    add_rows(session, _DECISIONS, ("batch", *COLUMNS), ((batch.id, *row) for row in rows))
    forwarding.enqueue(session, batch)


def count(plane: Plane, system: str, counts: Counts) -> None:
    """Count what was stored, for Prometheus."""
    for (kind, name), number in counts.items():
        if kind == "outcome":
            plane.metrics.records.labels(system, name).inc(number)
        elif kind == "mode":
            plane.metrics.count_uses(system, name, number)
        else:
            plane.metrics.count_denials(name, number)
