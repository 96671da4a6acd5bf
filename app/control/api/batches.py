"""`/api/v1/systems/{system}/sidecars/{sidecar}/batches`: signed batches of records."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request

from app.control import batches
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Name
from app.control.api.ingests import INGESTS
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/systems/{system}/sidecars/{sidecar}/batches", tags=["sidecars"])


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

    taken = await INGESTS.run(system, work)
    return {"acknowledged": taken.acknowledged, "entries": taken.entries}
