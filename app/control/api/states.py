"""`/api/v1/systems/{system}/states`: the trust states that decisions name."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Request, Response

from app.control import states
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Digest, Name
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/systems/{system}/states", tags=["sidecars"])


@router.put("/{digest}", status_code=204)
async def put_state(
    request: Request,
    plane: PlaneOf,
    system: Name,
    digest: Digest,
    access: Annotated[Access, by(Scope.RECORD_WRITE, sidecars=True)],
) -> None:
    """Archive a trust state: the bytes whose SHA-256 is in the path. Again is harmless.

    429 while too many that this sidecar brought wait for the batches that name them.
    """
    body = await request.body()
    await anyio.to_thread.run_sync(states.keep, plane, access, system, digest, body)


@router.get("/{digest}")
def get_state(plane: PlaneOf, system: Name, digest: Digest, _: Annotated[Access, by(Scope.DECISION_READ)]) -> Response:
    """The trust state, as it was archived."""
    return Response(states.find(plane, system, digest), media_type="application/json")
