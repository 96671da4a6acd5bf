"""`/api/v1/holds`: legal holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, Field

from app.control import holds
from app.control.api.access import PlaneOf, by
from app.control.api.decision_query import known_system, only_system
from app.control.api.forms import Body, Name, Text
from app.control.decision_filter import nanoseconds
from app.control.store import Hold
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/holds", tags=["holds"])

Reason = Annotated[str, Field(min_length=1, max_length=1000)]


class NewHold(Body):
    """What to hold: the records that all the given members fit."""

    system: Name | None = None
    issuer: Text | None = None
    subject: Text | None = None
    execution: Text | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    reason: Reason


class Release(Body):
    """Why a hold is released."""

    reason: Reason


def show(row: Hold) -> dict[str, Any]:
    """A hold as the API shows it."""
    return {
        "id": row.id,
        "system": row.system,
        "issuer": row.subject_issuer,
        "subject": row.subject_id,
        "execution": row.execution,
        "since_ns": None if row.since_ns is None else str(row.since_ns),
        "until_ns": None if row.until_ns is None else str(row.until_ns),
        "reason": row.reason,
        "placed_by": row.placed_by,
        "placed_at": row.placed_at.isoformat(),
        "released_by": row.released_by,
        "released_at": row.released_at.isoformat() if row.released_at else None,
        "release_reason": row.note,
    }


@router.post("", status_code=201)
def place_hold(
    plane: PlaneOf, body: NewHold, access: Annotated[Access, by(Scope.SYSTEM_WRITE, everywhere=True)]
) -> dict[str, Any]:
    """Place a hold. From when this answers on, nothing that it covers is erased."""
    system = only_system(access, body.system)
    with plane.store.write() as session:
        row = holds.place(
            session,
            access,
            body.reason,
            system=system,
            issuer=body.issuer,
            subject=body.subject,
            execution=body.execution,
            since_ns=_nanoseconds(body.since),
            until_ns=_nanoseconds(body.until, last=True),
        )
        return show(row)


@router.get("")
def list_holds(
    plane: PlaneOf,
    access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)],
    system: Name | None = None,
    released: bool = False,
) -> list[dict[str, Any]]:
    """The holds in force, those for all systems too; or those that were released."""
    with plane.store.read() as session:
        wanted = known_system(session, access, system)
        return [show(row) for row in holds.listed(session, wanted, released=released)]


@router.post("/{identifier}/release")
def release_hold(
    plane: PlaneOf,
    identifier: Annotated[int, Path(ge=1, lt=2**31)],
    body: Release,
    access: Annotated[Access, by(Scope.SYSTEM_WRITE, everywhere=True)],
) -> dict[str, Any]:
    """Release a hold. The name of the token, and the reason, stay with it."""
    with plane.store.write() as session:
        return show(holds.release(session, access, identifier, body.reason))


def _nanoseconds(at: datetime | None, *, last: bool = False) -> int | None:
    """Nanoseconds since 1970: of the moment's first one, or of its last."""
    return None if at is None else min(nanoseconds(at) + (999 if last else 0), 2**63 - 1)
