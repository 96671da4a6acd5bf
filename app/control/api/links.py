"""`/api/v1/systems/{system}/sidecars/{sidecar}/links`: the statements of sidecars' journals."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request

from app.control import links
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Name
from app.control.api.ingests import INGESTS
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/systems/{system}/sidecars/{sidecar}/links", tags=["sidecars"])


@router.post("")
async def take_link(
    request: Request, plane: PlaneOf, system: Name, sidecar: Name, _: Annotated[Access, by(Scope.RECORD_WRITE)]
) -> dict[str, str]:
    """Check and store the next statement of a journal: `{"evidence": Sigstore bundle}`, a text.

    The answer is durable: `{"number": NUMBER OF THE NEXT}`, a decimal string; the same statement again gets the same
    answer. What does not fit is kept, and stops the sidecar until a person clears the break.
    """
    body = await request.body()

    def work() -> int:
        return links.take(plane, system, sidecar, body)

    return {"number": str(await INGESTS.run(system, work))}
