"""`/tuf`: the TUF repository, as python-tuf's client asks for it. Open to everyone: signatures protect it."""

from __future__ import annotations

import re

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from app.control.api.access import PlaneOf
from app.control.problems import NotFound
from app.control.repository import TIMESTAMP_FILE
from app.control.store import TufMetadata

router = APIRouter(prefix="/tuf", tags=["tuf"])

_METADATA = re.compile(r"timestamp\.json|[1-9][0-9]{0,15}\.(root|targets|snapshot)\.json")
#: Hash-prefixed target files, no more than four parts deep; no part can be `..`.
_TARGET = re.compile(r"([a-z0-9][a-z0-9-]*/){0,2}[0-9a-f]{64}\.[a-z0-9][a-z0-9.-]{0,80}")

_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_NEVER = {"Cache-Control": "no-store"}


@router.get("/metadata/{file}")
def metadata(plane: PlaneOf, file: str) -> Response:
    """One metadata file."""
    if not _METADATA.fullmatch(file):
        raise NotFound("there is no such metadata")
    with plane.store.read() as session:
        row = session.get(TufMetadata, file)
    if row is None:
        raise NotFound("there is no such metadata")
    return Response(row.body, media_type="application/json", headers=_NEVER if file == TIMESTAMP_FILE else _FOR_EVER)


@router.get("/targets/{path:path}")
def target(plane: PlaneOf, path: str) -> Response:
    """One target file, by its hash-prefixed path."""
    if not _TARGET.fullmatch(path):
        raise NotFound("there is no such target")
    size, chunks = plane.objects.stream(f"targets/{path}")
    return StreamingResponse(
        chunks, media_type="application/octet-stream", headers=_FOR_EVER | {"Content-Length": str(size)}
    )
