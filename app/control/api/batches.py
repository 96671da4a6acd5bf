"""`/api/v1/systems/{system}/sidecars/{sidecar}/batches`: signed batches of records."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import APIRouter, Request

from app.control import batches
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Name
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/systems/{system}/sidecars/{sidecar}/batches", tags=["sidecars"])

#: Each holds a body of many megabytes at worst, and a database connection: this many at a time.
_INGESTS = CapacityLimiter(4)


@router.post("")
async def take_batch(
    request: Request, plane: PlaneOf, system: Name, sidecar: Name, _: Annotated[Access, by(Scope.RECORD_WRITE)]
) -> dict[str, int]:
    """Check and store a signed batch: `{"records": base64(gzip), "salts": base64, "evidence": Sigstore bundle}`.

    What is acknowledged is durable; the same batch again gets the same answer. What does not fit is kept, and stops
    the sidecar until a person clears the break.
    """
    body = await request.body()

    def work() -> batches.Taken:
        return batches.take(plane, system, sidecar, body)

    taken = await anyio.to_thread.run_sync(work, limiter=_INGESTS)
    return {"acknowledged": taken.acknowledged, "entries": taken.entries}
