"""`…/sidecars/{sidecar}/identity`, and the two documents by which others check the identity tokens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from app.control import identity_issuer
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Name
from app.control.tokens import Access, Scope

router = APIRouter(tags=["identity"])


@router.post("/api/v1/systems/{system}/sidecars/{sidecar}/identity")
def issue_identity(
    plane: PlaneOf, system: Name, sidecar: Name, access: Annotated[Access, by(Scope.RECORD_WRITE)]
) -> JSONResponse:
    """An identity token for the sidecar itself, which Fulcio takes. It needs a token that is bound to this sidecar."""
    issued = identity_issuer.issue(plane, access, system, sidecar)
    answer = {"token": issued.token, "expires_at": issued.expires_at.isoformat()}
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


@router.get(identity_issuer.DISCOVERY)
def discovery(plane: PlaneOf) -> dict[str, Any]:
    """The issuer's metadata (OpenID Connect Discovery 1.0). Open to everyone."""
    return identity_issuer.discovery(plane)


@router.get(identity_issuer.KEYS)
def keys(plane: PlaneOf) -> JSONResponse:
    """The issuer's public keys (RFC 7517). Open to everyone."""
    with plane.store.read() as session:
        # Not to be kept: a new key is looked for here the moment a token names it, and a withdrawn one is gone.
        return JSONResponse(identity_issuer.keys(session), headers={"Cache-Control": "no-store"})
