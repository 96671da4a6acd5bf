"""`/api/v1/systems/{system}/modes`: shadow and break-glass."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from app.control import modes, systems
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name
from app.control.store import Mode
from app.control.tokens import Access, Scope
from app.core.instant import written
from app.core.modes import MAX_EVIDENCE

router = APIRouter(prefix="/api/v1/systems/{system}/modes", tags=["modes"])

#: As `app.core.governance.SignedMode` takes it.
EvidenceText = Annotated[str, StringConstraints(min_length=2, max_length=32768)]


class NewMode(Body):
    """The Sigstore bundles over a mode's statement, as JSON texts."""

    evidence: Annotated[list[EvidenceText], Field(min_length=1, max_length=MAX_EVIDENCE)]


def show(mode: Mode) -> dict[str, Any]:
    """A mode as the API shows it."""
    return {
        "system": mode.system,
        "id": mode.id,
        "kind": mode.kind,
        "condition": modes.condition(mode),
        "reason": mode.reason,
        "from": written(mode.begins_at),
        "until": written(mode.ends_at),
        "signers": mode.signers,
        "subjects": mode.predicate.get("subjects"),
        "actions": mode.predicate.get("actions"),
        "resources": mode.predicate.get("resources"),
        "published_at": mode.published_at.isoformat(),
        "published_by": mode.published_by,
        "ended_at": mode.ended_at.isoformat() if mode.ended_at else None,
        "ended_by": mode.ended_by,
    }


def brief(mode: Mode) -> dict[str, Any]:
    """A mode as the listings of systems and sidecars name it."""
    return {name: value for name, value in show(mode).items() if name in {"id", "kind", "condition", "reason", "until"}}


@router.get("")
def list_modes(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """Every mode that the system had, newest first."""
    with plane.store.read() as session:
        systems.find(session, system)
        return [show(mode) for mode in modes.listed(session, system)]


@router.post("", status_code=201)
def publish_mode(
    plane: PlaneOf,
    system: Name,
    body: NewMode,
    response: Response,
    access: Annotated[Access, by(Scope.GOVERNANCE_WRITE)],
) -> dict[str, Any]:
    """Verify a mode and publish it to the system's sidecars, which verify it by their own policies."""
    mode, predicate = modes.verify(plane, system, body.evidence)
    with plane.publishing() as session:
        row, new = modes.publish(session, access, system, mode, predicate, body.evidence)
    response.status_code = 201 if new else 200
    return show(row)


@router.delete("/{identifier}")
def end_mode(
    plane: PlaneOf, system: Name, identifier: str, access: Annotated[Access, by(Scope.GOVERNANCE_WRITE)]
) -> dict[str, Any]:
    """End a mode before its time; it is published when this answers."""
    with plane.publishing() as session:
        return show(modes.end(session, access, system, identifier))
