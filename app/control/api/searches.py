"""`/api/v1/searches`: filters of decisions under a name, which `GET /api/v1/decisions?saved=NAME` runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from app.control import saved_searches
from app.control.api.access import PlaneOf, by
from app.control.api.decision_query import PARAMETERS, Reader, filter_of, only_system
from app.control.api.forms import Body, Name
from app.control.problems import Forbidden
from app.control.store import SavedSearch
from app.control.tokens import Access, Scope

router = APIRouter(prefix="/api/v1/searches", tags=["decisions"])

Writer = Annotated[Access, by(Scope.SYSTEM_WRITE, everywhere=True)]
_System = Annotated[str | None, Query(max_length=63)]


class SavedFilter(Body):
    """A filter, as questions of `/api/v1/decisions` name it. Times may be spans, such as `7d`, before each run."""

    model_config = ConfigDict(extra="forbid")

    outcome: str | None = None
    since: str | None = Field(default=None, max_length=40)
    until: str | None = Field(default=None, max_length=40)
    text: str | None = None
    where: list[str] | None = None
    mode: str | None = None
    execution: str | None = Field(default=None, max_length=512)
    sidecar: str | None = Field(default=None, max_length=63)
    subject: str | None = Field(default=None, max_length=512)
    issuer: str | None = Field(default=None, max_length=512)
    action: str | None = Field(default=None, max_length=512)
    resource_type: str | None = Field(default=None, max_length=512)
    resource: str | None = Field(default=None, max_length=512)
    reason: str | None = Field(default=None, max_length=100)
    policy: str | None = Field(default=None, max_length=80)

    def document(self) -> dict[str, Any]:
        """By the names of `Filter`."""
        fields = {name: field for field, name in PARAMETERS.items()}
        return {fields.get(name, name): value for name, value in self.model_dump().items() if value}


class NewSearch(Body):
    """What is saved."""

    filter: SavedFilter


def show(search: SavedSearch) -> dict[str, Any]:
    """A saved search as the API lists it."""
    return {
        "name": search.name,
        "system": search.system or None,
        "filter": {PARAMETERS.get(name, name): value for name, value in search.filter.items()},
        "saved_by": search.saved_by,
        "saved_at": search.saved_at.isoformat(),
    }


@router.get("")
def list_searches(plane: PlaneOf, access: Reader) -> list[dict[str, Any]]:
    """All saved searches that the token may see."""
    with plane.store.read() as session:
        return [show(one) for one in saved_searches.listed(session, access.system)]


@router.put("/{name}")
def save_search(plane: PlaneOf, access: Writer, name: Name, body: NewSearch, system: _System = None) -> dict[str, Any]:
    """Save a filter under a name, of a system or of all; it takes the place of one of that name."""
    _require(access, system)
    document = body.filter.document()
    filter_of(document)  # what cannot be asked is not saved
    with plane.store.write() as session:
        return show(saved_searches.save(session, name, system, document, access.name))


@router.delete("/{name}", status_code=204)
def delete_search(plane: PlaneOf, access: Writer, name: Name, system: _System = None) -> None:
    """Delete a saved search, of the system that is named or else of all."""
    _require(access, system)
    with plane.store.write() as session:
        saved_searches.delete(session, name, system)


def _require(access: Access, system: str | None) -> None:
    if access.system is not None and system is None:
        raise Forbidden(f"this token is bound to the system {access.system}; name it: ?system={access.system}")
    only_system(access, system)
