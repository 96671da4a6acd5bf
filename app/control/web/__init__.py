"""The review UI: Jinja2 pages with htmx for live filtering. Works without JavaScript; loads nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from app.control.web import (
    decision_pages,
    execution_pages,
    fleet_pages,
    keeping_pages,
    login,
    rendering,
    trust_pages,
    warrant_pages,
)

_MACHINE = ("/tuf/", "/healthz", "/readyz", "/static/")


def install(app: FastAPI) -> None:
    """Add the pages and their assets to the app."""
    pages = (decision_pages, execution_pages, fleet_pages, keeping_pages, trust_pages, warrant_pages)
    for module in (login, *pages):
        app.include_router(module.router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")


def is_machine(request: Request) -> bool:
    """Whether errors of this path are for programs, though anyone may ask."""
    return request.url.path.startswith(_MACHINE)


def error_page(request: Request, status: int, detail: str) -> Response:
    """An error for people."""
    titles = {403: "Not allowed", 404: "Not found", 422: "That does not work", 503: "Not available"}
    page = {"title": titles.get(status, "Something went wrong"), "detail": detail, "status": status}
    template = "problem.html" if rendering.is_live(request) else "error.html"
    return rendering.render(request, template, page, status=status)
