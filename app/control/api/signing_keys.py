"""`/api/v1/signing-keys` and `/api/v1/warrant-issuers`: the keys of warrants and attestation results."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from app.control import domains, issuers, keyring, revocations
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Name
from app.control.keyring import Keyring, Listed, Purpose
from app.control.tokens import Access, Scope
from app.core.governance import control_plane_id

router = APIRouter(prefix="/api/v1", tags=["signing keys"])


class Rotation(Body):
    """When the next key begins to sign, and which one it is: by default a new file."""

    lead_seconds: Annotated[int, Field(ge=0, le=keyring.MAX_LEAD)] = keyring.LEAD
    key: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None


def show(one: Listed) -> dict[str, Any]:
    """A key as the API shows it: its public half alone."""
    return {
        "purpose": one.key.purpose,
        "kid": one.key.kid,
        "alg": one.key.jwk["alg"],
        "status": str(one.status),
        "uri": one.key.uri,
        "announced_at": one.key.announced_at.isoformat(),
        "created_at": one.key.announced_at.isoformat(),
        "signs_from": one.key.signs_from.isoformat(),
        "published_until": one.published_until.isoformat() if one.published_until else None,
        "jwk": one.key.jwk,
    }


@router.get("/signing-keys")
def list_keys(plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """Every key, newest first within its purpose."""
    with plane.store.read() as session:
        return [show(one) for purpose in keyring.PURPOSES for one in keyring.listed(session, purpose)]


@router.post("/signing-keys/{purpose}/rotate", status_code=201)
def rotate(
    plane: PlaneOf, purpose: Purpose, body: Rotation, access: Annotated[Access, by(Scope.ADMIN)]
) -> list[dict[str, Any]]:
    """Announce the next key; it is published when this answers and signs when its lead is over."""
    with plane.publishing() as session:
        plane.keyring.rotate(session, purpose, by=access.id, lead_seconds=body.lead_seconds, uri=body.key)
        return [show(one) for one in keyring.listed(session, purpose)]


@router.delete("/signing-keys/{kid}", status_code=204)
def withdraw(plane: PlaneOf, kid: str, access: Annotated[Access, by(Scope.ADMIN)]) -> None:
    """Trust a key no longer: everything that it signed is void when this answers."""
    with plane.publishing() as session:
        keyring.withdraw(session, kid, by=access.id)


@router.get("/warrant-issuers")
def warrant_issuers(
    plane: PlaneOf, access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)], system: Name | None = None
) -> dict[str, Any]:
    """Whose warrants count, for whoever verifies one; with `system`, also which are revoked there."""
    if system is not None:
        access.require(Scope.SYSTEM_READ, system)
    home = plane.settings.domain
    with plane.store.read() as session:
        own = Keyring.published(session, "warrant")
        links = domains.listed(session)
        gone = [one.id for one in revocations.revoked(session, system)] if system is not None else []
        holders = {one.issuer: one.domain or home for one in issuers.listed(session)}
    signers = [(control_plane_id(home), home, own)] if own else []
    signers += [(one.issuer, one.domain, one.keys) for one in domains.warrant_issuers(links)]
    return {
        "domain": home,
        "issuers": [
            {"issuer": issuer, "domain": domain, "keys": list(keys.values())} for issuer, domain, keys in signers
        ],
        "links": [link.domain for link in links],
        "holders": holders,
        "revoked": gone,
    }
