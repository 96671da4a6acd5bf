"""Take signed batches of records: everything that their statements say is checked before anything is acknowledged.

In this order: the sidecar is admitted; the statement is signed by it and logged, and the records are what it says of
them (`app.control.batch_checks`); the batch follows the last one that is stored. Objects are stored first, then one
transaction, which asks once more. What does not fit is kept and told (`app.control.lineage`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlmodel import Session, col, select

from app.control import enrolment, judgement, lineage, raw_records, records, sidecar_statement
from app.control.batch_checks import STEP, Offer, Signed, Whole, signed_by, statement_of, whole_of
from app.control.lineage import Refused
from app.control.plane import Plane
from app.control.raw_records import Span
from app.control.store import Batch
from app.core.batch import BatchStatement, payload_digest
from app.core.errors import Denied
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")


@dataclass(frozen=True)
class Taken:
    """What the sidecar may forget: the bytes of the file before `acknowledged`; and the next batch's sequence."""

    acknowledged: int
    entries: int


def take(plane: Plane, system: str, sidecar: str, body: bytes) -> Taken:
    """Store a batch durably. A repeat of a stored one gets the same answer. Raises `Denied`, `Problem`."""
    signer, verify = sidecar_statement.signer_of(plane, system, sidecar, "signed batches")
    try:
        signed = signed_by(signer, verify, Offer.read(body))
    except Denied as denied:
        lineage.refuse(plane, Refused(system, sidecar, None, denied, body, stops=False))
        raise
    batch: BatchStatement | None = None
    stored: Batch | None = None
    try:
        batch = statement_of(signed)
        with plane.store.read() as session:
            stored = _stored(session, system, sidecar, batch)
            if stored is None:
                lineage.require_whole(session, system, sidecar)
        whole = whole_of(signed, batch)
        return _answer(stored) if stored else _store(plane, system, sidecar, signed, whole)
    except Denied as denied:
        # A spoilt repeat of what is stored proves nothing against the sidecar: every proof holds its evidence.
        instance = batch.instance if batch else None
        lineage.refuse(plane, Refused(system, sidecar, instance, denied, body, stops=stored is None))
        raise


def _stored(session: Session, system: str, sidecar: str, batch: BatchStatement) -> Batch | None:
    """The batch of the same statement, whatever signature it came with."""
    return session.exec(
        select(Batch).where(
            *_instance(system, sidecar, batch),
            Batch.first_entry == batch.first_entry,
            Batch.payload == payload_digest(batch.statement()),
        )
    ).first()


def _answer(stored: Batch) -> Taken:
    return Taken(stored.last, (stored.first_entry or 0) + (stored.entries or 0))


def _instance(system: str, sidecar: str, batch: BatchStatement) -> tuple[Any, ...]:
    return Batch.system == system, Batch.sidecar == sidecar, Batch.instance == batch.instance


def _require_next(session: Session, system: str, sidecar: str, batch: BatchStatement) -> None:
    """Deny unless the batch follows the last one of its instance, and of its file."""
    where = _instance(system, sidecar, batch)
    query = select(Batch).where(*where, col(Batch.first_entry).is_not(None))
    last = session.exec(query.order_by(col(Batch.first_entry).desc()).limit(1)).first()
    expected = _answer(last).entries if last else 0
    if batch.first_entry > expected:
        raise _denied(Reason.BATCH_GAP, f"entries {expected} to {batch.first_entry} are missing", "entries.first")
    if batch.first_entry < expected:
        detail = f"entry {batch.first_entry} is stored already, in another batch; the next one is {expected}"
        raise _denied(Reason.BATCH_FORK, detail, "entries.first")
    if batch.previous != (last.payload if last else None):
        raise _denied(Reason.BATCH_FORK, "the batch that it names before it is not the last one here", "previous")
    if last is not None and (since := _newest_instance(session, system, sidecar)) != batch.instance:
        # Each history would hold by itself, and nobody would see that there are two.
        raise _denied(Reason.BATCH_FORK, f"the instance {since} of this sidecar has begun since", "instance")

    of_file = select(Batch.last).where(*where, Batch.file == batch.file)
    end = session.exec(of_file.order_by(col(Batch.first).desc()).limit(1)).first()
    if end is None:
        # An instance may begin inside a file: what is before was shipped unsigned, or by an instance before it.
        end = 0 if last else batch.first_byte
    if batch.first_byte > end:
        detail = f"bytes {end} to {batch.first_byte} of {batch.file} are missing"
        raise _denied(Reason.BATCH_GAP, detail, "bytes.first")
    if batch.first_byte < end:
        detail = f"byte {batch.first_byte} of {batch.file} is stored already, in another batch"
        raise _denied(Reason.BATCH_FORK, detail, "bytes.first")


def _newest_instance(session: Session, system: str, sidecar: str) -> str | None:
    """The instance of the batch that was stored last of this sidecar."""
    signed = (Batch.system == system, Batch.sidecar == sidecar, col(Batch.first_entry).is_not(None))
    return session.exec(select(Batch.instance).where(*signed).order_by(col(Batch.id).desc()).limit(1)).first()


def _store(plane: Plane, system: str, sidecar: str, signed: Signed, whole: Whole) -> Taken:
    batch = whole.batch
    with plane.store.read() as session:
        _require_next(session, system, sidecar, batch)
    row = _put(plane, system, sidecar, signed, whole)
    made = records.Read(system, sidecar, whole.entries)
    rows = list(made.rows())  # now: others wait for the transaction
    with plane.store.write() as session:
        lineage.serialise(session, system, sidecar)
        enrolment.require_admitted(session, system, sidecar)
        stored = _stored(session, system, sidecar, batch)
        if stored is not None:  # by another request, since we looked
            return _answer(stored)
        lineage.require_whole(session, system, sidecar)
        _require_next(session, system, sidecar, batch)
        records.insert(session, row, made, rows)
        judged = judgement.judge(session, row, batch)
    records.count(plane, system, made.counts)
    judgement.tell(plane, judged)
    if batch.first_entry == 0:
        # What an older instance had not sent yet is missing from now on: whoever reviews must be able to see when.
        place = (system, sidecar, batch.instance, batch.first_byte, batch.file)
        log.warning("%s/%s begins the instance %s at byte %s of %s", *place)
    return Taken(batch.last_byte, batch.next_entry)


def _put(plane: Plane, system: str, sidecar: str, signed: Signed, whole: Whole) -> Batch:
    """Put the objects, each under its digest, and make the row that names them."""
    batch = whole.batch
    span = Span(system, sidecar, batch.instance, batch.file, batch.first_byte, batch.last_byte)

    def put(kind: str, body: bytes) -> str:
        named = f"{kind}/{system}/{sha256(body).hexdigest()}"
        plane.objects.put(named, body)
        return named

    return Batch(
        **vars(span),
        sha256=whole.digest,
        object=raw_records.put(plane.objects, span, whole.entries),
        other_lines=0,
        first_entry=batch.first_entry,
        entries=batch.entries,
        root=batch.root,
        payload=payload_digest(signed.payload),
        previous=batch.previous,
        opa=batch.opa,
        evidence=put("evidence", signed.offer.evidence),
        salts=put("salts", whole.salts),
        leaves=put("leaves", b"".join(whole.leaves)),
        log_index=signed.log_index,
        signed_at=signed.verified.signed_at,
        closed_at=batch.closed_at,
        dropped=batch.dropped,
    )


def _denied(reason: Reason, detail: str, field: str) -> Denied:
    return Denied(reason, detail, step=STEP, field=field)
