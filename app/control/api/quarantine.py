"""`/api/v1/quarantine`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import AfterValidator, StringConstraints

from app.control import issuers, quarantine
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Text, line
from app.control.store import Quarantine
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/quarantine", tags=["quarantine"])


class NewQuarantine(Body):
    """Whom to deny everything, and why."""

    issuer: Text
    subject: Text
    reason: Annotated[str, StringConstraints(max_length=1000), AfterValidator(line)]


def show(entry: Quarantine) -> dict[str, Any]:
    """A quarantined subject as the API shows it."""
    return {
        "issuer": entry.issuer,
        "subject": entry.subject,
        "reason": entry.reason,
        "since": entry.since.isoformat(),
        "lifted_at": entry.lifted_at.isoformat() if entry.lifted_at else None,
    }


@router.get("")
def list_quarantine(plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """Everyone in quarantine."""
    with plane.store.read() as session:
        return [show(entry) for entry in quarantine.listed(session)]


@router.post("", status_code=201)
def add_to_quarantine(
    plane: PlaneOf, body: NewQuarantine, response: Response, access: Annotated[Access, by(Scope.QUARANTINE_WRITE)]
) -> dict[str, Any]:
    """Quarantine a subject; it is published when this answers. 200 when it is in quarantine already."""
    with plane.publishing() as session:
        entry, new = quarantine.add(session, access, body.issuer, body.subject, body.reason)
        trusted = [issuer.issuer for issuer in issuers.listed(session)]
    response.status_code = 201 if new else 200
    return {**show(entry), "issuer_trusted": body.issuer in trusted}


@router.delete("")
def lift_quarantine(
    plane: PlaneOf, issuer: str, subject: str, access: Annotated[Access, by(Scope.QUARANTINE_WRITE)]
) -> dict[str, Any]:
    """End a subject's quarantine; it is published when this answers."""
    with plane.publishing() as session:
        return show(quarantine.lift(session, access, issuer, subject))
