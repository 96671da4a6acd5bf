"""`/api/v1/systems/{system}/governance`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app.control import attestation_results, governance, systems
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name
from app.control.governance_document import GovernanceDocument
from app.control.store import Governance
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/systems/{system}/governance", tags=["governance"])


class NewGovernance(Body):
    """A document to set, and the version on top of which: the one that its author looked at. 0 is before the first."""

    document: dict[str, Any]
    version: Annotated[int, Field(ge=0, lt=2**31)]
    #: Only check it and its version, and say what it would look like, written out.
    dry_run: bool = False


def show(system: str, row: Governance | None) -> dict[str, Any]:
    """A system's governance as the API shows it: every member written out."""
    document = governance.read(row) if row else GovernanceDocument()
    return {
        "system": system,
        "version": row.version if row else 0,
        "set_at": row.set_at.isoformat() if row else None,
        "set_by": row.set_by if row else None,
        "document": document.model_dump(mode="json"),
    }


@router.get("")
def get_governance(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> dict[str, Any]:
    """The governance in force."""
    with plane.store.read() as session:
        systems.find(session, system)
        return show(system, governance.current(session, system))


@router.get("/versions")
def list_versions(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """What was set, newest first."""
    with plane.store.read() as session:
        systems.find(session, system)
        return [show(system, row) for row in governance.versions(session, system)]


@router.put("")
def put_governance(
    plane: PlaneOf, system: Name, body: NewGovernance, access: Annotated[Access, by(Scope.GOVERNANCE_WRITE)]
) -> dict[str, Any]:
    """Set a system's governance. It is published when this answers; 409 when another version is in force."""
    if body.dry_run:
        with plane.store.read() as session:
            found = governance.propose(session, system, body.document, body.version)
            return show(system, found.before) | {"proposed": found.written}
    with plane.publishing() as session:
        row, changed = governance.put(session, access, system, body.document, body.version)
        attestation_results.revoke_unfounded(session, plane.settings.domain)  # sidecars are not told what is accepted
    return show(system, row) | {"changed": changed}
