"""Take records from sidecars: bytes [first, last) of one record file, acknowledged after a durable commit.

A file's batches follow each other without a gap. The object is stored first, then one transaction; a repeat of
a stored batch gets the same answer, a repeat with other bytes does not. Here they come without a signature, which a
control plane with a lineage log takes no more: see `app.control.batches`, which stores its rows in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from sqlalchemy import func, update
from sqlalchemy import insert as add_row
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from app.control import batch_values, forwarding, raw_records, record_rows, systems, value_counts
from app.control.plane import Plane
from app.control.problems import Conflict, Invalid, TooLarge
from app.control.raw_records import Span
from app.control.record_rows import COLUMNS, Counts
from app.control.store import Batch, Decision, ErasedBatch, batch_words, decision_row, sealing
from app.control.store.bulk import add_rows, next_numbers
from app.control.value_counts import Tally
from app.core.batch_form import MAX_ENTRIES
from app.core.errors import Denied
from app.core.reason_codes import Reason

_BATCHES, _DECISIONS = (Decision.metadata.tables[name] for name in ("batch", "decision"))
_ADD = add_row(_BATCHES)
_POSITION = COLUMNS.index("position")


def ingest(plane: Plane, span: Span, body: bytes) -> int:
    """Store a batch durably and return the byte up to which the sidecar may forget the file."""
    if plane.verify_batch is not None:
        detail = (
            "this control plane takes records in signed batches only: start the sidecar with --lineage-trust-config"
        )
        raise Denied(Reason.RECORD_UNSIGNED, detail)
    if not plane.unsigned_records:
        detail = (
            "this control plane has no lineage log to verify signed batches by, and takes no others: start it with "
            "--lineage-trust-config, or with --unsigned-records"
        )
        raise Denied(Reason.RECORD_UNSIGNED, detail)
    _check_form(span, body)
    digest = sha256(body).hexdigest()
    with plane.store.read() as session:
        systems.find(session, span.system)
        if _is_known(session, span, digest):
            return span.last

    made = record_rows.Read(span.system, span.sidecar, body[:-1].split(b"\n"))
    rows = list(made.rows())
    counted = value_counts.of_rows(rows, COLUMNS)
    key = raw_records.put(plane.objects, span, made.entries)
    try:
        with plane.store.write() as session:
            if _is_known(session, span, digest):
                return span.last
            batch = Batch(**asdict(span), sha256=digest, object=key, other_lines=0)
            insert(session, batch, made.words, rows, counted)
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
    # As of a signed one: what is kept of a line is many times as large as the shortest lines are.
    if (lines := body.count(b"\n")) > MAX_ENTRIES:
        raise TooLarge(f"a batch has at most {MAX_ENTRIES} lines, not {lines}")


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


def insert(
    session: Session,
    batch: Batch,
    words: bytes,
    rows: Iterable[tuple[Any, ...]],
    counted: Mapping[str, Tally],
) -> None:
    """Add a batch with its filter, the rows of its decisions and of their values; and give the batch its number."""
    # Past the session, which would need a statement for the batch and another one for the filter.
    [number] = next_numbers(session.connection(), _BATCHES)
    values = dict(batch) | {"id": number, batch_words.name: words}
    session.connection().execute(_ADD, values | {"seal": sealing.own_seal(session, "batch", values)})
    batch.id = number
    add_decisions(session, number, rows)
    batch_values.add(session, number, counted)
    forwarding.enqueue(session, batch)


def add_decisions(session: Session, batch: int, rows: Iterable[tuple[Any, ...]]) -> None:
    """Add the rows of a batch's decisions, as `record_rows.Read` makes them."""
    numbered = ((decision_row(batch, row[_POSITION]), batch, *row) for row in rows)
    add_rows(session, _DECISIONS, ("id", "batch", *COLUMNS), numbered)


def count(plane: Plane, system: str, counts: Counts) -> None:
    """Count what was stored, for Prometheus."""
    for (kind, name), number in counts.items():
        if kind == "outcome":
            plane.metrics.records.labels(system, name).inc(number)
        elif kind == "mode":
            plane.metrics.count_uses(system, name, number)
        else:
            plane.metrics.count_denials(name, number)
