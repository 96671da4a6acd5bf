"""`/api/v1/decisions`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from app.control import decisions, proofs, search, summary
from app.control.api import tail_events
from app.control.api.access import PlaneOf
from app.control.api.decision_query import FilterOf, Reader
from app.control.decision_list import listed, rfc3339
from app.control.decisions import Whole
from app.control.store import Batch
from app.core import strict_json

router = APIRouter(prefix="/api/v1/decisions", tags=["decisions"])


@router.get("")
def search_decisions(
    plane: PlaneOf,
    wanted: FilterOf,
    limit: Annotated[int, Query(ge=1, le=search.MAX_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> dict[str, Any]:
    """Decisions, newest first; `next` is the cursor of the page after this one, null when there is none.

    A page may be short, or empty, and yet have a next one: so much was searched for it. `unread` names the objects of
    batches that are not what was stored.
    """
    with plane.store.read() as session:
        page = search.search(session, plane.objects, wanted, limit, cursor)
    return {"items": [listed(item) for item in page.items], "next": page.next, "unread": page.unread}


@router.get("/summary")
def summarise(plane: PlaneOf, wanted: FilterOf, bucket: str = "hour", facets: bool = True) -> dict[str, Any]:
    """Decisions by time and outcome, and the most frequent values among the newest."""
    with plane.store.read() as session:
        bars = summary.histogram(session, wanted, bucket)
        found = summary.facets(session, plane.objects, wanted, bucket) if facets else None
    return {
        "bucket_seconds": summary.BUCKETS[bucket],
        "buckets": [{"from": rfc3339(bar.start_ns), **bar.counts} for bar in bars],
        "facets": found and {
            "of": found.of,
            **{name: [{"value": value, "count": count} for value, count in top] for name, top in found.values.items()},
        },
    }  # fmt: skip


@router.get("/tail")
async def follow(
    plane: PlaneOf,
    wanted: FilterOf,
    access: Reader,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> StreamingResponse:
    """Decisions as they arrive, as server-sent events: `data` is a decision as this API lists it.

    The stream ends after ten minutes; who asks again gives the last `id` as
    `Last-Event-ID`, and gets the latest of them again.
    """
    return await tail_events.begin(plane, access, wanted, last_event_id)


@router.get("/{decision_id}/proof")
def get_proof(plane: PlaneOf, decision_id: str, access: Reader) -> Response:
    """The decision's proof file, for `placet proof verify`; 404 proof.missing when its record came unsigned."""
    return Response(proofs.export(plane, decision_id, access.system), media_type="application/json")


@router.get("/{decision_id}")
def get_decision(plane: PlaneOf, decision_id: str, access: Reader) -> Response:
    """One decision with its record: `record` as OPA wrote it, null when parsers might disagree; `raw` its text."""
    with plane.store.read() as session:
        found = decisions.whole(session, plane.objects, decision_id, access.system)
    return Response(_whole_json(found), media_type="application/json")


def _whole_json(found: Whole) -> bytes:
    """The record goes in as the bytes it is: parsing and writing it again would change its numbers."""
    members = listed(found.decision) | {
        "instance": found.batch.instance,
        "file": found.batch.file,
        "number": found.number,
        "batch": {"first": found.batch.first, "last": found.batch.last, "sha256": found.batch.sha256},
        "signed": _signed(found.batch),
        "copies": found.copies,
        "raw": found.raw.decode("utf-8", "backslashreplace"),
    }
    head = json.dumps(members).encode()
    return head[:-1] + b', "record": ' + (found.raw if _reads_alike(found.raw) else b"null") + b"}"


def _signed(batch: Batch) -> dict[str, Any] | None:
    """What is signed of the batch; null when it came unsigned."""
    if batch.signed_at is None:
        return None
    return {
        "entries": {"first": batch.first_entry, "count": batch.entries},
        "root": batch.root,
        "log_index": batch.log_index,
        "opa": batch.opa,
        "at": batch.signed_at.isoformat(),
    }


def _reads_alike(raw: bytes) -> bool:
    """Whether every JSON parser reads the record in the same way."""
    try:
        strict_json.load_object(raw)
    except strict_json.StrictJSONError:
        return False
    return True
