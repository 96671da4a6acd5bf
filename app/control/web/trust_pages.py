"""Whom everyone trusts: issuers with the age of their keys, linked domains, and grants."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.control import domains, grants, issuers
from app.control.api.access import PlaneOf, by
from app.control.tokens import Access, Scope
from app.control.web.rendering import render

router = APIRouter()


@router.get("/issuers")
def issuer_list(request: Request, plane: PlaneOf, _: Annotated[Access, by(Scope.SYSTEM_READ)]) -> Response:
    """Trusted issuers, linked domains and grants."""
    with plane.store.read() as session:
        sources = issuers.sources(session)
        rows = []
        for row in issuers.listed(session):
            source = sources.get(row.id or 0)
            rows.append(
                {
                    "issuer": row,
                    "source": source,
                    "condition": issuers.condition(row, source),
                    "age": issuers.age(row, source),
                    "limit": timedelta(seconds=source.max_age_seconds) if source else None,
                }
            )
        page = {
            "title": "Issuers",
            "home": plane.settings.domain,
            "rows": rows,
            "domains": domains.listed(session),
            "grants": grants.listed(session),
        }
    return render(request, "issuers.html", page)
