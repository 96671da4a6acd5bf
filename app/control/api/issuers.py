"""`/api/v1/issuers`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field

from app.control import issuers
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Text
from app.control.store import Issuer
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/issuers", tags=["issuers"])


class NewIssuer(Body):
    """An issuer of workload identities: the audiences that its tokens must name, and its public keys (RFC 7517)."""

    issuer: Text
    audiences: Annotated[list[Text], Field(min_length=1, max_length=32)]
    jwks: dict[str, Any]


def show(issuer: Issuer) -> dict[str, Any]:
    """An issuer as the API shows it."""
    return {
        "issuer": issuer.issuer,
        "audiences": issuer.audiences,
        "keys": list(issuer.keys.values()),
        "changed_at": issuer.changed_at.isoformat(),
    }


@router.get("")
def list_issuers(plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """Every trusted issuer."""
    with plane.store.read() as session:
        return [show(issuer) for issuer in issuers.listed(session)]


@router.post("", status_code=201)
def put_issuer(
    plane: PlaneOf, body: NewIssuer, response: Response, _: Annotated[Access, by(Scope.ISSUER_WRITE)]
) -> dict[str, Any]:
    """Trust an issuer, or replace its audiences and keys (200). It is published when this answers."""
    with plane.publishing() as session:
        issuer, new = issuers.put(session, body.issuer, body.audiences, body.jwks)
    response.status_code = 201 if new else 200
    return show(issuer)


@router.delete("", status_code=204)
def remove_issuer(plane: PlaneOf, issuer: str, _: Annotated[Access, by(Scope.ISSUER_WRITE)]) -> None:
    """Trust an issuer no longer; it is published when this answers."""
    with plane.publishing() as session:
        issuers.remove(session, issuer)
