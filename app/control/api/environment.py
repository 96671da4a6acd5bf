"""`/api/v1/systems/{system}/…/environment`: evidence about sidecars, and the results that were made of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from app.control import attestation, attestation_results, enrolment, systems
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Body, Digest, Name
from app.control.attestation import ImageItem, TokenItem
from app.control.store import AttestationResult
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/systems/{system}", tags=["environment"])

#: Pieces of evidence for one result.
MAX_ITEMS = 16

BundleText = Annotated[str, StringConstraints(min_length=2, max_length=256 * 1024)]
TokenText = Annotated[str, StringConstraints(min_length=1, max_length=16 * 1024)]


class ImageEvidence(Body):
    """Which image runs, and the Sigstore bundles about it, as JSON texts."""

    type: Literal["image"]
    digest: Digest
    bundles: Annotated[list[BundleText], Field(min_length=1, max_length=8)]


class TokenEvidence(Body):
    """A workload's token of Kubernetes or a cloud, an entity attestation token, or a verification summary as JWT."""

    type: Literal["token", "eat", "vsa"]
    token: TokenText


class NewEvidence(Body):
    """The evidence about one sidecar."""

    evidence: Annotated[
        list[Annotated[ImageEvidence | TokenEvidence, Field(discriminator="type")]],
        Field(min_length=1, max_length=MAX_ITEMS),
    ]


def show(row: AttestationResult) -> dict[str, Any]:
    """A result as the API lists it. Its JWT is given to the sidecar alone."""
    return {
        "id": row.id,
        "system": row.system,
        "sidecar": row.sidecar,
        "submods": row.submods,
        "basis": row.basis,
        "issued_at": row.issued_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
        "revoked_because": row.revoked_because,
    }


@router.post("/sidecars/{sidecar}/environment")
def attest_environment(
    plane: PlaneOf,
    system: Name,
    sidecar: Name,
    body: NewEvidence,
    _: Annotated[Access, by(Scope.ENVIRONMENT_WRITE)],
) -> dict[str, Any]:
    """Verify evidence about a sidecar and sign the result; 422 with reason environment.refused otherwise."""
    with plane.store.read() as session:
        enrolment.require_admitted(session, system, sidecar)
    items = [
        ImageItem(item.digest, item.bundles) if isinstance(item, ImageEvidence) else TokenItem(item.type, item.token)
        for item in body.evidence
    ]
    issued = attestation.attest(plane, system, sidecar, items)
    return {
        "id": issued.row.id,
        "result": issued.result,
        "expires_at": issued.row.expires_at.isoformat(),
        "refresh_after_seconds": issued.refresh_after_seconds,
    }


@router.get("/environment")
def list_results(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """The results that have not expired, newest first."""
    with plane.store.read() as session:
        systems.find(session, system)
        return [show(row) for row in attestation_results.listed(session, system)]


@router.delete("/environment/{identifier}")
def revoke_result(
    plane: PlaneOf, system: Name, identifier: str, access: Annotated[Access, by(Scope.GOVERNANCE_WRITE)]
) -> dict[str, Any]:
    """Revoke a result; it is published when this answers."""
    with plane.publishing() as session:
        return show(attestation_results.revoke(session, system, identifier, f"revoked with token {access.id}"))
