"""`/api/v1/quarantine`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import AfterValidator, StringConstraints

from app.control import governance, issuers, quarantine
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Text, line
from app.control.problems import Invalid
from app.control.store import Quarantine
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/quarantine", tags=["quarantine"])


class NewQuarantine(Body):
    """What to deny everything, and why: a subject of an issuer, or an execution, a segment or a domain by name."""

    issuer: Text | None = None
    subject: Text | None = None
    execution: Text | None = None
    segment: Text | None = None
    domain: Text | None = None
    reason: Annotated[str, StringConstraints(max_length=1000), AfterValidator(line)]


def named(
    issuer: str | None, subject: str | None, execution: str | None, segment: str | None, domain: str | None
) -> tuple[quarantine.Kind, str, str]:
    """The one thing that is named: its kind, its issuer (empty unless it is a subject) and its name."""
    others: dict[quarantine.Kind, str | None] = {"execution": execution, "segment": segment, "domain": domain}
    given = [(kind, name) for kind, name in others.items() if name is not None]
    if issuer is not None and subject is not None and not given:
        return quarantine.SUBJECT, issuer, subject
    if issuer is None and subject is None and len(given) == 1:
        kind, name = given[0]
        return kind, "", name
    raise Invalid("name one: issuer and subject, or an execution, or a segment, or a domain")


def show(entry: Quarantine) -> dict[str, Any]:
    """What is in quarantine, as the API shows it."""
    subject = entry.kind == quarantine.SUBJECT
    return {
        "kind": entry.kind,
        "issuer": entry.issuer if subject else None,
        "subject": entry.subject if subject else None,
        "name": entry.subject,
        "reason": entry.reason,
        "since": entry.since.isoformat(),
        "lifted_at": entry.lifted_at.isoformat() if entry.lifted_at else None,
    }


@router.get("")
def list_quarantine(plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """Everything in quarantine."""
    with plane.store.read() as session:
        return [show(entry) for entry in quarantine.listed(session)]


@router.post("", status_code=201)
def add_to_quarantine(
    plane: PlaneOf, body: NewQuarantine, response: Response, access: Annotated[Access, by(Scope.QUARANTINE_WRITE)]
) -> dict[str, Any]:
    """Quarantine something; it is published when this answers. 200 when it is in quarantine already.

    `issuer_trusted` and `segment_known` say whether a subject, or a segment, of that name can be met at all.
    """
    kind, issuer, name = named(body.issuer, body.subject, body.execution, body.segment, body.domain)
    with plane.publishing() as session:
        entry, new = quarantine.add(session, access, issuer, name, body.reason, kind)
        trusted = [row.issuer for row in issuers.listed(session)]
        segments = governance.segment_names(session) if kind == "segment" else set()
    response.status_code = 201 if new else 200
    if kind == quarantine.SUBJECT:
        return show(entry) | {"issuer_trusted": issuer in trusted}
    return show(entry) | ({"segment_known": name in segments} if kind == "segment" else {})


@router.delete("")
def lift_quarantine(
    plane: PlaneOf,
    access: Annotated[Access, by(Scope.QUARANTINE_WRITE)],
    issuer: str | None = None,
    subject: str | None = None,
    execution: str | None = None,
    segment: str | None = None,
    domain: str | None = None,
) -> dict[str, Any]:
    """End a quarantine; it is published when this answers."""
    kind, issuer, name = named(issuer, subject, execution, segment, domain)
    with plane.publishing() as session:
        return show(quarantine.lift(session, access, issuer, name, kind))
