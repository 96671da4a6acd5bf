"""`/api/v1/libraries`: the governance libraries that decisions name."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from app.control import libraries
from app.control.api.access import PlaneOf, by
from app.control.api.forms import Digest
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/libraries", tags=["decisions"])


@router.get("/{digest}")
def get_library(
    plane: PlaneOf, digest: Digest, _: Annotated[Access, by(Scope.DECISION_READ, everywhere=True)]
) -> Response:
    """The library's modules by their names: each that this control plane has run with is kept."""
    return Response(libraries.find(plane.objects, digest), media_type="application/json")
