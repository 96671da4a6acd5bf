"""`/api/v1/grants`: what subjects may do beyond asking for themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from app.control import grants, issuers
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Text
from app.control.store import SubjectGrant
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/grants", tags=["grants"])

GrantName = Literal["assert-subject", "forward-certificate"]


class NewGrant(Body):
    """Who gets what."""

    issuer: Text
    subject: Text
    grants: Annotated[list[GrantName], Field(min_length=1, max_length=2)]


def show(row: SubjectGrant) -> dict[str, Any]:
    """A subject's grants as the API shows them."""
    return {
        "issuer": row.issuer,
        "subject": row.subject,
        "grants": row.grants,
        "since": row.since.isoformat(),
        "added_by": row.added_by,
    }


@router.get("")
def list_grants(plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """Every grant."""
    with plane.store.read() as session:
        return [show(row) for row in grants.listed(session)]


@router.post("", status_code=201)
def add_grant(
    plane: PlaneOf, body: NewGrant, response: Response, access: Annotated[Access, by(Scope.ISSUER_WRITE)]
) -> dict[str, Any]:
    """Grant a subject more; it is published when this answers. 200 when it had all of it."""
    with plane.publishing() as session:
        row, changed = grants.add(session, access, body.issuer, body.subject, body.grants)
        trusted = [issuer.issuer for issuer in issuers.listed(session)]
    response.status_code = 201 if changed else 200
    return show(row) | {"issuer_trusted": body.issuer in trusted}


@router.delete("", status_code=204)
def remove_grant(
    plane: PlaneOf,
    issuer: str,
    subject: str,
    _: Annotated[Access, by(Scope.ISSUER_WRITE)],
    grant: GrantName | None = None,
) -> None:
    """Take one grant, or all, from a subject; it is published when this answers."""
    with plane.publishing() as session:
        grants.remove(session, issuer, subject, grant)
