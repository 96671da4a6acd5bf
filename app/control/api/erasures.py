"""`/api/v1/erasures`: records that are erased by subject or by decision, and what was erased by whom."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import Field
from sqlmodel import Session

from app.control import erasure, refused_copies
from app.control.api.access import PlaneOf, by
from app.control.api.decision_query import known_system, only_system
from app.control.api.forms import Body, Name, Text
from app.control.erasure import Wanted
from app.control.store import Erasure
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/erasures", tags=["erasures"])

Number = Annotated[int, Path(ge=1, lt=2**31)]


class NewErasure(Body):
    """Whose records, or which decisions. A dry run changes nothing and says how many there are."""

    issuer: Text | None = None
    subject: Text | None = None
    decisions: Annotated[list[Text], Field(default_factory=list, max_length=erasure.MAX_NAMED)]
    system: Name | None = None
    reason: Annotated[str, Field(min_length=1, max_length=1000)]
    dry_run: bool = True


def show(session: Session, row: Erasure) -> dict[str, Any]:
    """An order and how far it is."""
    at = erasure.progress(session, row.id or 0)
    return {
        "id": row.id,
        "kind": row.kind,
        "system": row.system,
        "reason": row.reason,
        "decisions": row.decisions,
        "batches": at.batches,
        "batches_done": at.done,
        "held_by": at.held_by,
        "refused_batches": row.copies,
        "asked_by": row.asked_by,
        "asked_at": row.asked_at.isoformat(),
        "done_at": row.done_at.isoformat() if row.done_at else None,
    }


@router.post("")
def erase(
    response: Response,
    plane: PlaneOf,
    body: NewErasure,
    access: Annotated[Access, by(Scope.SYSTEM_WRITE, everywhere=True)],
) -> dict[str, Any]:
    """Order an erasure: 202, and it is carried out to its end. 409 `hold.active` when a hold forbids any of it."""
    system = only_system(access, body.system)
    wanted = Wanted(body.issuer, body.subject, body.decisions, system)
    copies = refused_copies.find(plane, wanted)
    if body.dry_run:
        with plane.store.read() as session:
            found = erasure.find(session, wanted)
        return {
            "dry_run": True,
            "decisions": found.decisions,
            "batches": len(found.rows),
            "refused_batches": copies,
            "held_by": [hold.id for hold in found.held],
            "unknown": found.unknown,
        }
    with plane.store.write() as session:
        row = erasure.order(session, access, wanted, body.reason, copies)
        shown = show(session, row)
    response.status_code = 202
    return shown


@router.get("")
def list_erasures(
    plane: PlaneOf, access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)], system: Name | None = None
) -> list[dict[str, Any]]:
    """Orders, newest first; with those of retention."""
    with plane.store.read() as session:
        return [show(session, row) for row in erasure.listed(session, known_system(session, access, system))]


@router.get("/{identifier}")
def get_erasure(
    plane: PlaneOf, identifier: Number, access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)]
) -> dict[str, Any]:
    """One order, and the entries that it took: their numbers in each batch, or null for all of them."""
    with plane.store.read() as session:
        row = erasure.get(session, identifier, access.system)
        return show(session, row) | {"entries": erasure.sequences(session, identifier)}
