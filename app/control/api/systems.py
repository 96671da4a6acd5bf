"""`/api/v1/systems`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from app.control import systems
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name, Text
from app.control.store import System
from app.control.tokens import Access, Scope
from app.core.verification_policy import SignerIdentity

router = APIRouter(prefix="/api/v1/systems", tags=["systems"])


class Signer(Body):
    """Who may sign: a certificate identity, compared exactly, and the OIDC issuer that vouches for it."""

    identity: Text
    issuer: Text


class NewSystem(Body):
    """A system to create."""

    name: Name
    identities: Annotated[list[Signer], Field(min_length=1, max_length=64)]
    required_predicates: Annotated[list[Text], Field(default_factory=list, max_length=32)]
    horizon_seconds: Annotated[int, Field(ge=1, le=30 * 86400)] = systems.DEFAULT_HORIZON


def show(system: System) -> dict[str, Any]:
    """A system as the API shows it."""
    return {
        "name": system.name,
        "identities": system.identities,
        "required_predicates": system.required_predicates,
        "horizon_seconds": system.horizon_seconds,
        "created_at": system.created_at.isoformat(),
    }


@router.get("")
def list_systems(
    plane: PlaneOf, access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)]
) -> list[dict[str, Any]]:
    """Every system; a token that is bound to one sees that one."""
    with plane.store.read() as session:
        return [show(system) for system in systems.listed(session, access.system)]


@router.post("", status_code=201)
def create_system(plane: PlaneOf, body: NewSystem, _: Annotated[Access, by(Scope.SYSTEM_WRITE)]) -> dict[str, Any]:
    """Create a system."""
    identities = [SignerIdentity(identity=one.identity, issuer=one.issuer) for one in body.identities]
    with plane.store.write() as session:
        return show(systems.create(session, body.name, identities, body.required_predicates, body.horizon_seconds))


@router.get("/{system}")
def get_system(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> dict[str, Any]:
    """One system."""
    with plane.store.read() as session:
        return show(systems.find(session, system))
