"""`/api/v1/lineage/entries` and `/checkpoint`: what the lineage log must hold, for `placet lineage monitor`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import PlainTextResponse

from app.control import log_entries
from app.control.api.access import PlaneOf, by
from app.control.api.decision_query import known_system
from app.control.api.forms import Name
from app.control.log_entries import MAX_PAGE, Cursor, Entry
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/lineage", tags=["lineage"])


def show(entry: Entry) -> dict[str, Any]:
    """An entry as `app.core.log_expected` reads it."""
    return {
        "name": entry.name,
        "index": str(entry.index),
        "leaf": entry.place.leaf.hex() if entry.place else None,
        "checkpoint": entry.place.checkpoint if entry.place else None,
    }


@router.get("/entries")
def list_entries(
    plane: PlaneOf,
    access: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)],
    system: Name | None = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
) -> dict[str, Any]:
    """The entries that follow `after`, in the order in which they were stored.

    `next` is where the following page begins, also when nothing is there yet. On PostgreSQL an entry of a
    sidecar is listed a minute after it was stored.
    """
    with plane.store.read() as session:
        wanted = known_system(session, access, system)
    found = log_entries.page(plane, wanted, Cursor.read(after), limit)
    return {
        "identities": found.identities,
        "entries": [show(one) for one in found.entries],
        "next": str(found.next),
        "more": found.more,
    }


@router.get("/checkpoint", response_class=PlainTextResponse)
def newest_checkpoint(
    plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)]
) -> PlainTextResponse:
    """The newest checkpoint of the lineage log that this control plane was shown, as a signed note."""
    return PlainTextResponse(log_entries.newest_checkpoint(plane), headers={"Cache-Control": "no-store"})
