"""Take signed batches of records: everything that their statements say is checked before anything is acknowledged.

In this order: the statement is signed by the sidecar and logged, and the records are what it says of them
(`app.control.batch_checks`); the sidecar is admitted, and the batch follows the last one that is stored
(`app.control.batch_place`). Objects are stored first, then one transaction, which asks the latter once more. What does
not fit is kept and told (`app.control.lineage`), unless the sidecar was evicted: that is told before all else.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from hashlib import sha256

from app.control import judgement, lineage, raw_records, records, sidecar_statement
from app.control.batch_checks import Offer, Signed, signed_by, statement_of
from app.control.batch_place import Place, place_of
from app.control.batch_reading import Reading
from app.control.lineage import Refused
from app.control.plane import Plane
from app.control.raw_records import Span
from app.control.store import Batch
from app.core.batch import BatchStatement, payload_digest
from app.core.errors import Denied

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
        sidecar_statement.require_admitted(plane, system, sidecar)
        lineage.refuse(plane, Refused(system, sidecar, None, denied, body, stops=False))
        raise
    batch: BatchStatement | None = None
    place: Place | None = None
    try:
        batch = statement_of(signed)
        with plane.store.read() as session:
            place = place_of(session, system, sidecar, batch, payload_digest(signed.payload))
            place.require_open(session, system, sidecar)
            # At a ROLLBACK, as a session ends with otherwise, psycopg forgets which statements are prepared: to parse
            # and plan them anew takes half of what PostgreSQL does for a batch of one record.
            session.commit()
        reading = plane.readers.read(system, sidecar, batch, signed.offer.records, signed.offer.salts)
        if place.stored is not None:
            return Taken(*place.stored)
        place.require_next(batch)
        return _store(plane, system, sidecar, signed, batch, reading)
    except Denied as denied:
        if place is None:
            sidecar_statement.require_admitted(plane, system, sidecar)
        # A spoilt repeat of what is stored proves nothing against the sidecar: every proof holds its evidence.
        instance, is_repeat = batch.instance if batch else None, place is not None and place.stored is not None
        refused = Refused(system, sidecar, instance, denied, body, stops=not is_repeat)
        raise lineage.refuse(plane, refused) from None


def _store(plane: Plane, system: str, sidecar: str, signed: Signed, batch: BatchStatement, reading: Reading) -> Taken:
    row = _put(plane, system, sidecar, signed, batch, reading)
    for name, value in reading.summary.items():
        setattr(row, name, value)
    with plane.store.write() as session:
        lineage.serialise(session, system, sidecar)
        place = place_of(session, system, sidecar, batch, payload_digest(signed.payload))
        place.require_open(session, system, sidecar)
        if place.stored is not None:  # by another request, since we looked
            return Taken(*place.stored)
        place.require_next(batch)
        records.insert(session, row, reading.words, reading.rows, reading.values)
        judged = judgement.judge(session, row, batch, place, reading.named())
    records.count(plane, system, reading.counts)
    judgement.tell(plane, judged)
    if batch.first_entry == 0:
        # What an older instance had not sent yet is missing from now on: whoever reviews must be able to see when.
        begun = (system, sidecar, batch.instance, batch.first_byte, batch.file)
        log.warning("%s/%s begins the instance %s at byte %s of %s", *begun)
    return Taken(batch.last_byte, batch.next_entry)


def _put(plane: Plane, system: str, sidecar: str, signed: Signed, batch: BatchStatement, reading: Reading) -> Batch:
    """Put the objects, each under its digest, and make the row that names them."""
    span = Span(system, sidecar, batch.instance, batch.file, batch.first_byte, batch.last_byte)

    def put(kind: str, body: bytes) -> str:
        named = f"{kind}/{system}/{sha256(body).hexdigest()}"
        plane.objects.put(named, body)
        return named

    return Batch(
        **vars(span),
        sha256=reading.digest,
        object=raw_records.put_packed(plane.objects, span, reading.packed),
        other_lines=0,
        first_entry=batch.first_entry,
        entries=batch.entries,
        root=batch.root,
        payload=payload_digest(signed.payload),
        previous=batch.previous,
        opa=batch.opa,
        evidence=put("evidence", signed.offer.evidence),
        salts=put("salts", reading.salts),
        leaves=put("leaves", reading.leaves),
        log_index=signed.log_index,
        signed_at=signed.verified.signed_at,
        closed_at=batch.closed_at,
        dropped=batch.dropped,
    )
