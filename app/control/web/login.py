"""Log in with an API token, and out again."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from app.control import tokens
from app.control.api.access import PlaneOf
from app.control.gate import SESSION_TOKEN
from app.control.problems import Forbidden
from app.control.web.rendering import render

router = APIRouter()

_HOME = "/decisions"


@router.get("/")
def home() -> Response:
    """The decisions are the first page."""
    return RedirectResponse(_HOME, status_code=303)


@router.get("/login")
def login_page(request: Request, next: str = _HOME) -> Response:
    """Ask for a token."""
    return render(request, "login.html", {"title": "Sign in", "next": _inside(next), "wrong": False})


@router.post("/login")
def login(
    request: Request,
    plane: PlaneOf,
    token: Annotated[str, Form(max_length=200)] = "",
    next: Annotated[str, Form(max_length=4000)] = _HOME,
) -> Response:
    """Open a session. The cookie holds the token's id, never its secret."""
    _same_origin(request)
    with plane.store.read() as session:
        access = tokens.authenticate(session, token.strip())
    if access is None:
        page = {"title": "Sign in", "next": _inside(next), "wrong": True}
        return render(request, "login.html", page, status=401)
    request.session.clear()
    request.session[SESSION_TOKEN] = access.id
    return RedirectResponse(_inside(next), status_code=303)


@router.post("/logout")
def logout(request: Request) -> Response:
    """End the session."""
    _same_origin(request)
    request.session.clear()
    return RedirectResponse("/login", status_code=303)


def _inside(address: str) -> str:
    """Only addresses of this site: `//host`, `/\\host` and control characters lead elsewhere."""
    leads_inside = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if leads_inside and address.isprintable() else _HOME


def _same_origin(request: Request) -> None:
    """Browsers say where a form came from; another site's form is refused, beside what SameSite does."""
    origin = request.headers.get("origin")
    elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if elsewhere or request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden("this form was sent by another site")
