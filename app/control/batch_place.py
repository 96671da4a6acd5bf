"""Where the batches of a sidecar stand, and whether one more follows them: all of it in one statement.

It is asked twice of every batch, and a batch may hold a single record, so each statement that it needs counts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, exists, func, literal, select, true
from sqlmodel import Session, col

from app.control import enrolment, lineage, systems
from app.control.batch_reading import STEP
from app.control.store import Batch, System
from app.control.store.columns import now
from app.core.batch import BatchStatement
from app.core.errors import Denied
from app.core.reason_codes import Reason

_OF = Batch.metadata.tables["batch"].c


class Place(NamedTuple):
    """What the database says when a batch comes: columns of `_QUERY`, in their order."""

    known: bool
    evicted: bool
    broken: bool
    #: The batch of the same statement, whatever signature it came with: its last byte, and its entries.
    stored_last: int | None
    stored_first_entry: int | None
    stored_entries: int | None
    #: The last batch of the instance.
    last_first_entry: int | None
    last_entries: int | None
    last_payload: str | None
    last_opa: str | None
    last_closed_at: datetime | None
    #: The instance of the batch that was stored last of this sidecar.
    newest: str | None
    #: The byte after the last one of the same file.
    end: int | None
    #: The latest time of a decision of the sidecar, in whichever batch.
    latest_ns: int | None

    @property
    def stored(self) -> tuple[int, int] | None:
        """The byte and the entry after the stored batch, when this one is a repeat."""
        if self.stored_last is None:
            return None
        return self.stored_last, (self.stored_first_entry or 0) + (self.stored_entries or 0)

    @property
    def is_first(self) -> bool:
        """Whether the instance has no batch yet."""
        return self.last_first_entry is None

    def require_open(self, session: Session, system: str, sidecar: str) -> None:
        """Raise `Problem` or `Denied` unless batches of the sidecar are taken. A repeat is answered all the same."""
        # Whoever says why reads it himself: that is seldom.
        if not self.known:
            systems.find(session, system)
        if self.evicted:
            enrolment.require_admitted(session, system, sidecar)
        if self.broken and self.stored is None:
            lineage.require_whole(session, system, sidecar)

    def require_next(self, batch: BatchStatement) -> None:
        """Deny unless the batch follows the last one of its instance, and of its file."""
        expected = (self.last_first_entry or 0) + (self.last_entries or 0)
        if batch.first_entry > expected:
            raise _denied(Reason.BATCH_GAP, f"entries {expected} to {batch.first_entry} are missing", "entries.first")
        if batch.first_entry < expected:
            detail = f"entry {batch.first_entry} is stored already, in another batch; the next one is {expected}"
            raise _denied(Reason.BATCH_FORK, detail, "entries.first")
        if batch.previous != self.last_payload:
            raise _denied(Reason.BATCH_FORK, "the batch that it names before it is not the last one here", "previous")
        if not self.is_first and self.newest != batch.instance:
            # Each history would hold by itself, and nobody would see that there are two.
            raise _denied(Reason.BATCH_FORK, f"the instance {self.newest} of this sidecar has begun since", "instance")
        # An instance may begin inside a file: what is before was shipped unsigned, or by an instance before it.
        end = (batch.first_byte if self.is_first else 0) if self.end is None else self.end
        if batch.first_byte > end:
            detail = f"bytes {end} to {batch.first_byte} of {batch.file} are missing"
            raise _denied(Reason.BATCH_GAP, detail, "bytes.first")
        if batch.first_byte < end:
            detail = f"byte {batch.first_byte} of {batch.file} is stored already, in another batch"
            raise _denied(Reason.BATCH_FORK, detail, "bytes.first")


def place_of(session: Session, system: str, sidecar: str, batch: BatchStatement, payload: str) -> Place:
    """Where a batch finds its sidecar; `payload` is the digest of its statement."""
    asked = {
        "now": now(),
        "system": system,
        "sidecar": sidecar,
        "instance": batch.instance,
        "file": batch.file,
        "first_entry": batch.first_entry,
        "payload": payload,
    }
    return Place(*session.connection().execute(_QUERY, asked).one())


def _query() -> Select[Any]:
    system: Any = bindparam("system")
    sidecar: Any = bindparam("sidecar")
    theirs = (_OF.system == system, _OF.sidecar == sidecar)
    own = (*theirs, _OF.instance == bindparam("instance"))
    signed = _OF.first_entry.is_not(None)
    named = (_OF.first_entry == bindparam("first_entry"), _OF.payload == bindparam("payload"))
    stored = select(_OF.last, _OF.first_entry, _OF.entries).where(*own, *named).subquery("stored")
    last = (
        select(_OF.first_entry, _OF.entries, _OF.payload, _OF.opa, _OF.closed_at)
        .where(*own, signed)
        .order_by(_OF.first_entry.desc())
        .limit(1)
        .subquery("last")
    )
    newest = select(_OF.instance).where(*theirs, signed).order_by(_OF.id.desc()).limit(1)
    of_file = select(_OF.last).where(*own, _OF.file == bindparam("file")).order_by(_OF.first.desc()).limit(1)
    one = select(literal(1).label("one")).subquery("one")
    return select(
        exists().where(col(System.name) == system),
        exists().where(*enrolment.evicting(system, sidecar)),
        exists().where(*lineage.stopping(system, sidecar, bindparam("now"))),
        *stored.c,
        *last.c,
        newest.scalar_subquery(),
        of_file.scalar_subquery(),
        select(func.max(_OF.newest_ns)).where(*theirs).scalar_subquery(),
    ).select_from(one.outerjoin(stored, true()).outerjoin(last, true()))


#: Made once: SQLAlchemy takes longer to make a statement than PostgreSQL to answer it.
_QUERY = _query()


def _denied(reason: Reason, detail: str, field: str) -> Denied:
    return Denied(reason, detail, step=STEP, field=field)
