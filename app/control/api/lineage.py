"""`/api/v1/lineage/breaks`: batches that were not taken, and sidecars that stand still because of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, StringConstraints

from app.control import lineage, refused_copies
from app.control.api.access import PlaneOf, by
from app.control.api.decision_query import known_system
from app.control.api.forms import Body, Name, line
from app.control.store import LineageBreak
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/lineage/breaks", tags=["lineage"])


class Clearing(Body):
    """Why the sidecar may go on."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(line)]


def show(row: LineageBreak) -> dict[str, Any]:
    """A break as the API shows it. `stops`: whether it stops the sidecar, `stops_at`: from when on, None for at once;
    `batch`: the row of one that was taken."""
    return {
        "id": row.id,
        "system": row.system,
        "sidecar": row.sidecar,
        "instance": row.instance,
        "kind": row.kind,
        "detail": row.detail,
        "stops": row.stops,
        "stops_at": row.stops_at.isoformat() if row.stops and row.stops_at else None,
        "batch": row.batch,
        "sha256": row.body_sha256,
        "object": row.object,
        "opened_at": row.opened_at.isoformat(),
        "cleared_at": row.cleared_at.isoformat() if row.cleared_at else None,
        "cleared_by": row.cleared_by,
        "reason": row.note,
    }


@router.get("")
def list_breaks(
    plane: PlaneOf,
    access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)],
    system: Name | None = None,
    cleared: bool = False,
) -> list[dict[str, Any]]:
    """What is open, those that stop a sidecar first; with `cleared`, the last ones that a person cleared."""
    with plane.store.read() as session:
        wanted = known_system(session, access, system)
        found = lineage.cleared(session, wanted) if cleared else lineage.listed(session, wanted)
        return [show(row) for row in found]


@router.get("/{identifier}/batch")
def get_batch(
    plane: PlaneOf,
    identifier: Annotated[int, Path(ge=1, lt=2**31)],
    access: Annotated[Access, by(Scope.DECISION_READ, everywhere=True)],
) -> Response:
    """The batch that was refused and kept, as it came. Nothing in it is proved."""
    return Response(refused_copies.body(plane, access, identifier), media_type="application/json")


@router.post("/{identifier}/clear")
def clear_break(
    plane: PlaneOf,
    identifier: Annotated[int, Path(ge=1, lt=2**31)],
    body: Clearing,
    access: Annotated[Access, by(Scope.SYSTEM_WRITE, everywhere=True)],
) -> dict[str, Any]:
    """Let a sidecar go on. The name of the token, and the reason, stay with the break."""
    with plane.store.write() as session:
        return show(lineage.clear(session, access, identifier, body.reason))
