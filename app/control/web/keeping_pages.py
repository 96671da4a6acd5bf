"""How long records are kept, what may not be erased, and what was erased by whose order."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.control import erasure, holds, retention, systems
from app.control.api.access import PlaneOf, by
from app.control.tokens import Access, Scope
from app.control.web.rendering import render

router = APIRouter()


@router.get("/keeping")
def keeping(
    request: Request, plane: PlaneOf, access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)]
) -> Response:
    """Retention by system, legal holds, and erasures with how far they are."""
    with plane.store.read() as session:
        page = {
            "title": "Keeping",
            "kept": [(one.name, retention.get(session, one.name)) for one in systems.listed(session, access.system)],
            "holds": holds.listed(session, access.system),
            "released": holds.listed(session, access.system, released=True),
            "erasures": [
                (order, erasure.progress(session, order.id or 0)) for order in erasure.listed(session, access.system)
            ],
        }
    return render(request, "keeping.html", page)
