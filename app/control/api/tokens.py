"""`/api/v1/tokens`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, Field, StringConstraints

from app.control import allowances, enrolment, tokens
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name, line
from app.control.store import ApiToken
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"])


class NewToken(Body):
    """A token to create."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(line)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    system: Name | None = None
    sidecar: Name | None = None


def show(token: ApiToken) -> dict[str, Any]:
    """A token as the API shows it, without its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "system": token.system,
        "sidecar": token.sidecar,
        "created_at": token.created_at.isoformat(),
        "created_by": token.created_by,
    }


@router.get("")
def list_tokens(
    plane: PlaneOf, access: Annotated[Access, by(Scope.TOKEN_WRITE, everywhere=True)]
) -> list[dict[str, Any]]:
    """The tokens in force."""
    with plane.store.read() as session:
        return [show(token) for token in tokens.listed(session, access)]


@router.post("", status_code=201)
def create_token(
    plane: PlaneOf, body: NewToken, access: Annotated[Access, by(Scope.TOKEN_WRITE, everywhere=True)]
) -> dict[str, Any]:
    """Create a token. Its secret is in this answer and nowhere else."""
    with plane.store.write() as session:
        token, secret = tokens.create(session, access, body.name, body.scopes, body.system, body.sidecar)
        if token.system is not None and token.sidecar is not None:
            enrolment.require_admitted(session, token.system, token.sidecar)
            allowances.require_no_workload(session, token.system, token.sidecar)
    return show(token) | {"token": secret}


@router.delete("/{token_id}", status_code=204)
def revoke_token(
    plane: PlaneOf, token_id: str, access: Annotated[Access, by(Scope.TOKEN_WRITE, everywhere=True)]
) -> None:
    """Revoke a token; it, and every session that was opened with it, ends at once."""
    with plane.store.write() as session:
        tokens.revoke(session, access, token_id)
