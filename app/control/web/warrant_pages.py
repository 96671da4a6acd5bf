"""Warrants with their state, one warrant whole, and the executions that used some up."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from sqlmodel import col
from starlette.responses import Response

from app.control import approvals, executions, keyring, pages, revocations, systems, warrants
from app.control.api import warrants as api
from app.control.api.access import PlaneOf, by
from app.control.api.decision_query import only_system
from app.control.problems import Invalid
from app.control.store import Execution, Warrant
from app.control.tokens import Access, Scope
from app.control.web import pretty
from app.control.web.rendering import render

router = APIRouter()

_PAGE = 50
Reader = Annotated[Access, by(Scope.WARRANT_READ, everywhere=True)]
SystemName = Annotated[str, Query(max_length=63)]
Cursor = Annotated[str, Query(max_length=400)]


@router.get("/warrants")
def warrant_list(
    request: Request,
    plane: PlaneOf,
    access: Reader,
    system: SystemName = "",
    status: Annotated[str, Query(max_length=10)] = "",
    cursor: Cursor = "",
) -> Response:
    """Warrants and requests for them, newest first, and the keys that sign them."""
    page: dict[str, Any] = {"title": "Warrants", "system": system, "status": status, "problem": None}
    page |= {"rows": [], "older": None, "statuses": warrants.STATUSES}
    with plane.store.read() as session:
        page["systems"] = [row.name for row in systems.listed(session, access.system)]
        page["keys"] = keyring.listed(session, "warrant")
        try:
            conditions = [*_of(Warrant, only_system(access, system or None))]
            conditions += warrants.has_status(status) if status else []
            found = pages.page(
                session, Warrant, conditions, col(Warrant.created_at), col(Warrant.id), _PAGE, cursor or None
            )
        except Invalid as invalid:
            page["problem"] = str(invalid)
        else:
            used = executions.counts(session, plane.settings.domain, [row.id for row in found.items])
            page["rows"] = [(row, api.show(row, used)) for row in found.items]
            page["older"] = _older("/warrants", found.next, system=system, status=status)
    return render(request, "warrants.html", page)


@router.get("/systems/{system}/warrants/{warrant}")
def warrant_page(
    request: Request, plane: PlaneOf, system: str, warrant: str, _: Annotated[Access, by(Scope.WARRANT_READ)]
) -> Response:
    """One warrant: who may do what by it, who asked and who approved. Its token is not shown to anybody."""
    with plane.store.read() as session:
        row = warrants.find(session, system, warrant)
        page = {
            "title": f"Warrant {warrant}",
            "row": row,
            "shown": api.show(row, executions.counts(session, plane.settings.domain, [row.id])),
            "approval": approvals.of(session, row),
            "revocation": revocations.of(session, system, warrant),
            "request_text": pretty.pretty(row.request),
            "claims_text": pretty.pretty(row.claims) if row.claims else None,
            "obtained_text": json.dumps(row.obtained, indent=2),
        }
    return render(request, "warrant.html", page)


@router.get("/executions")
def execution_list(
    request: Request, plane: PlaneOf, access: Reader, system: SystemName = "", cursor: Cursor = ""
) -> Response:
    """Executions that redeemed warrants of limited use, newest first."""
    page: dict[str, Any] = {"title": "Executions", "system": system, "problem": None, "rows": [], "older": None}
    with plane.store.read() as session:
        page["systems"] = [row.name for row in systems.listed(session, access.system)]
        conditions = [*_of(Execution, only_system(access, system or None))]
        try:
            found = pages.page(
                session, Execution, conditions, col(Execution.started_at), col(Execution.id), _PAGE, cursor or None
            )
        except Invalid as invalid:
            page["problem"] = str(invalid)
        else:
            page["rows"] = found.items
            page["older"] = _older("/executions", found.next, system=system)
    return render(request, "executions.html", page)


def _of(table: type[Warrant] | type[Execution], system: str | None) -> list[Any]:
    return [table.system == system] if system else []


def _older(path: str, cursor: str | None, **fields: str) -> str | None:
    """The address of the page after this one."""
    if cursor is None:
        return None
    return f"{path}?{urlencode({name: value for name, value in fields.items() if value} | {'cursor': cursor})}"
