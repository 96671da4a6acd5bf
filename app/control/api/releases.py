"""`/api/v1/systems/{system}/releases`."""

from __future__ import annotations

from typing import Annotated, Any

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile

from app.control import releases
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Digest, Name
from app.control.problems import Invalid, TooLarge
from app.control.releases import Upload
from app.control.store import Carried, Evidence, Release
from app.control.tokens import Access, Scope
from app.core.verification import split_attestations

router = APIRouter(prefix="/api/v1/systems/{system}/releases", tags=["releases"])

#: Verification holds a whole bundle in memory and runs OPA: two at a time.
VERIFICATIONS = CapacityLimiter(2)

_PARTS = {
    "bundle": releases.MAX_BUNDLE,
    "signature": releases.MAX_SIGNATURE,
    "attestations": releases.MAX_ATTESTATIONS,
}

_MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["bundle", "signature"],
                    "properties": {name: {"type": "string", "format": "binary"} for name in _PARTS},
                }
            }
        },
    }
}


def show(system: str, release: Release, evidence: list[Evidence]) -> dict[str, Any]:
    """A release as the API shows it."""
    return {
        "digest": release.digest,
        "system": system,
        "revision": release.revision,
        "entrypoint": release.entrypoint,
        "roots": release.roots,
        "signer": {"identity": release.signer_identity, "issuer": release.signer_issuer},
        "signed_at": release.signed_at.isoformat(),
        "attestations": [
            {
                "predicate_type": one.predicate_type,
                "signer": {"identity": one.signer_identity, "issuer": one.signer_issuer},
                "signed_at": one.signed_at.isoformat(),
                "sha256": one.sha256,
            }
            for one in evidence
        ],
    }


@router.post("", status_code=201, openapi_extra=_MULTIPART)
async def publish_release(
    request: Request,
    response: Response,
    plane: PlaneOf,
    system: Name,
    access: Annotated[Access, by(Scope.RELEASE_WRITE)],
) -> dict[str, Any]:
    """Take a release after verifying it. 200 when the system has it already; new evidence is merged then."""
    upload = await _read_upload(request)

    def work() -> tuple[dict[str, Any], bool]:
        release, new = releases.take(plane, access, system, upload)
        with plane.store.read() as session:
            return show(system, release, releases.evidence_of(session, release.digest)), new

    shown, new = await anyio.to_thread.run_sync(work, limiter=VERIFICATIONS)
    response.status_code = 201 if new else 200
    return shown


@router.get("")
def list_releases(plane: PlaneOf, system: Name, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> list[dict[str, Any]]:
    """The releases of a system, newest first."""
    with plane.store.read() as session:
        return [
            show(system, release, releases.evidence_of(session, release.digest))
            for release, _carried in releases.listed(session, system)
        ]


@router.get("/{digest}")
def get_release(
    plane: PlaneOf, system: Name, digest: Digest, _: Annotated[Access, by(Scope.SYSTEM_READ)]
) -> dict[str, Any]:
    """One release, with its provenance and the statements of its attestations."""
    with plane.store.read() as session:
        release, carried = releases.find(session, system, digest)
        evidence = releases.evidence_of(session, digest)
    return show(system, release, evidence) | _whole(release, carried, evidence)


def _whole(release: Release, carried: Carried, evidence: list[Evidence]) -> dict[str, Any]:
    return {
        "published_at": carried.published_at.isoformat(),
        "published_by": carried.published_by,
        "provenance": release.provenance,
        "statements": [one.statement for one in evidence],
    }


async def _read_upload(request: Request) -> Upload:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Invalid("send the release as multipart/form-data with the parts bundle, signature and attestations")
    parts: dict[str, bytes] = {}
    # Larger parts go to a temporary file; the whole body is bounded by `limits` while it is read.
    async with request.form(max_files=len(_PARTS), max_fields=0) as form:
        for name, part in form.multi_items():
            if name not in _PARTS or name in parts or not isinstance(part, UploadFile):
                raise Invalid(f"the part {name!r} is unknown or stands twice")
            if (part.size or 0) > _PARTS[name]:
                raise TooLarge(f"the part {name} is larger than {_PARTS[name]} bytes")
            parts[name] = await part.read()
    for name in ("bundle", "signature"):
        if name not in parts:
            raise Invalid(f"the part {name} is missing")
    attestations = split_attestations(parts.get("attestations", b""))
    return Upload(parts["bundle"], parts["signature"], list(dict.fromkeys(one.strip() for one in attestations)))
