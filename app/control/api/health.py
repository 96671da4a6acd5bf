"""Health, metrics and the OpenAPI document."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from app.control.api.access import PlaneOf, access_of, by
from app.control.problems import Unavailable
from app.control.store.columns import now
from app.control.tokens import Access, Scope

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request, plane: PlaneOf) -> dict[str, str]:
    """Database and object store answer, rows have seals of this key, and the TUF timestamp is fresh; else 503."""
    issued = plane.issued_at()
    plane.objects.check()
    if not plane.store.has_our_seals():
        raise Unavailable("the rows have seals of another key: see placet server fsck")
    stale_after: timedelta = request.app.state.stale_after
    if issued is None or now() - issued > stale_after:
        raise Unavailable("the TUF timestamp is not being signed")
    return {"status": "ok"}


@router.get("/metrics")
def metrics(plane: PlaneOf, _: Annotated[Access, by(Scope.METRICS_READ)]) -> Response:
    """Prometheus metrics."""
    issued = plane.issued_at()
    plane.metrics.age.set((now() - issued).total_seconds() if issued else float("inf"))
    return Response(generate_latest(plane.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/api/v1/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """The OpenAPI document of this API, for anyone with a token."""
    access_of(request)
    document: dict[str, Any] = request.app.openapi()
    return document
