"""`/api/v1/decisions/records`: the raw records of many decisions."""

from __future__ import annotations

import gzip
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.control import record_feed
from app.control.api.access import PlaneOf
from app.control.api.decision_query import FilterOf, Reader

router = APIRouter(prefix="/api/v1/decisions", tags=["decisions"])

#: Level 1 takes a tenth of the time of the default, and a bundle of records is a tenth of its size by it.
_LEVEL = 1


@router.get("/records")
def read_records(
    request: Request,
    plane: PlaneOf,
    wanted: FilterOf,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=record_feed.MAX_RECORDS)] = record_feed.MAX_RECORDS,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Raw records, newest first: a line of JSON with `next` and `items`, then a line for each item, as OPA wrote it.

    The line of an item that is `missing` is empty.
    """
    body = record_feed.page(plane, wanted, limit, cursor).body()
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, _LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/x-ndjson")
