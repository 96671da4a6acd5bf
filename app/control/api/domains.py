"""`/api/v1/domains`: this control plane's trust domain, and those that are linked to it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import StringConstraints

from app.control import domains
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Text
from app.control.keyring import Keyring
from app.control.store import DomainLink
from app.control.tokens import Access, Scope
from app.core.governance import control_plane_id

router = APIRouter(prefix="/api/v1/domains", tags=["domains"])

DomainName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]{1,255}$")]


class NewLink(Body):
    """What is taken of a domain: its subjects, and what is signed by the keys that are given."""

    domain: DomainName
    #: JWK sets of its control plane.
    warrant_jwks: dict[str, Any] | None = None
    attestation_jwks: dict[str, Any] | None = None
    #: Its control plane's name, when it is not `spiffe://DOMAIN/control-plane`.
    signer: Text | None = None


def show(link: DomainLink) -> dict[str, Any]:
    """A linked domain as the API shows it."""
    return {
        "domain": link.domain,
        "signer": link.signer,
        "warrant_keys": list(link.warrant_keys.values()),
        "attestation_keys": list(link.attestation_keys.values()),
        "since": link.since.isoformat(),
        "added_by": link.added_by,
    }


@router.get("")
def list_domains(plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """Every linked domain."""
    with plane.store.read() as session:
        return [show(link) for link in domains.listed(session)]


@router.get("/own")
def get_own_domain(plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> dict[str, Any]:
    """This control plane's domain, name and public keys, as another one links them."""
    with plane.store.read() as session:
        warrant, attestation = (Keyring.published(session, purpose) for purpose in ("warrant", "attestation"))
    return {
        "domain": plane.settings.domain,
        "signer": control_plane_id(plane.settings.domain),
        "warrant_jwks": {"keys": list(warrant.values())},
        "attestation_jwks": {"keys": list(attestation.values())},
    }


@router.post("", status_code=201)
def put_link(
    plane: PlaneOf, body: NewLink, response: Response, access: Annotated[Access, by(Scope.ISSUER_WRITE)]
) -> dict[str, Any]:
    """Link a domain, or replace what is taken of it (200). It is published when this answers."""
    home = plane.settings.domain
    with plane.publishing() as session:
        link, new = domains.link(
            session, access, home, body.domain, body.warrant_jwks, body.attestation_jwks, body.signer
        )
    response.status_code = 201 if new else 200
    return show(link)


@router.delete("", status_code=204)
def remove_link(plane: PlaneOf, domain: str, _: Annotated[Access, by(Scope.ISSUER_WRITE)]) -> None:
    """Unlink a domain: nothing of it is taken any more. It is published when this answers."""
    with plane.publishing() as session:
        domains.unlink(session, domain)
