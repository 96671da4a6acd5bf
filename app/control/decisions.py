"""Read one decision whole. `app.control.search` finds them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, select

from app.control import erasure, raw_records, record_lines
from app.control.objects import Objects
from app.control.problems import NotFound
from app.control.store import Batch, Decision
from app.core.errors import Denied

#: Rows of one id that are looked at.
_MAX_COPIES = 200


@dataclass(frozen=True)
class Whole:
    """A decision with its raw record, and how many records carry its id (more than one is worth a look)."""

    decision: Decision
    batch: Batch
    raw: bytes
    #: The number of the record's entry in its batch, from 0.
    number: int
    copies: int


def whole(session: Session, objects: Objects, decision_id: str, only_system: str | None = None) -> Whole:
    """The decision of that id with its record; the one received first, when the id stands more than once.

    Raises `NotFound`, `Unavailable`; `Changed` where the store gives something else; `Denied` of an erased record.
    """
    decision, copies = _first(session, decision_id, only_system)
    batch = session.get_one(Batch, decision.batch)
    try:
        raw = raw_records.read(objects, batch, decision.position)
    except Denied as denied:
        raise erasure.explained(session, decision, denied) from denied
    number = raw_records.numbers(objects, batch, [decision.position])[decision.position]
    return Whole(decision, batch, raw, number, copies)


def place(
    session: Session, objects: Objects, decision_id: str, only_system: str | None = None
) -> tuple[Decision, Batch, int]:
    """The row of a decision, its batch, and the number of its entry there, whether or not its record was erased.

    Raises `NotFound`, `Unavailable`, `Changed`.
    """
    decision, _ = _first(session, decision_id, only_system)
    batch = session.get_one(Batch, decision.batch)
    return decision, batch, raw_records.numbers(objects, batch, [decision.position])[decision.position]


def _first(session: Session, decision_id: str, only_system: str | None) -> tuple[Decision, int]:
    """The row of that id that was received first, and how many there are."""
    query = select(Decision).where(Decision.decision_id == record_lines.clean(decision_id))
    if only_system is not None:
        query = query.where(Decision.system == only_system)
    found = list(session.exec(query.order_by(col(Decision.id)).limit(_MAX_COPIES)))
    if not found:
        raise NotFound(f"there is no decision {decision_id}")
    return found[0], len(found)
