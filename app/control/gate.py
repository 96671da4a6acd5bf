"""The gate: nothing is served to nobody, but for the TUF repository, health, the exchange of tokens, of join tokens and
of identity tokens (they say who asks), the public documents of the identity issuer, and the login page with its assets.

It stands before routing and before a body is read, so that a route cannot forget it. Routes then ask for scopes.
"""

from __future__ import annotations

from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.control import enrolment, identity_issuer, tokens, workloads
from app.control.api import problem_json
from app.control.plane import Plane
from app.control.problems import Forbidden, Unauthenticated, Unavailable
from app.control.store import is_outage

ANONYMOUS = (
    "/healthz",
    "/readyz",
    "/login",
    "/oauth/token",
    enrolment.JOIN,
    workloads.ENROL,
    identity_issuer.DISCOVERY,
    identity_issuer.KEYS,
)
ANONYMOUS_BELOW = ("/tuf/", "/static/")

#: Served to programs, which present a bearer token; all else is for people, who have a session.
_PROGRAMS = ("/api/", "/metrics", "/oauth/", "/.well-known/")

SESSION_TOKEN = "token"  # noqa: S105 - the name of the session's member that holds a token's id


class Gate:
    """ASGI middleware that finds out who is asking and leaves it as `request.state.access`."""

    def __init__(self, app: ASGIApp, plane: Plane) -> None:
        self._app = app
        self._plane = plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is not HTTP."""
        if scope["type"] != "http" or is_anonymous(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            access = await run_in_threadpool(self._access, request)
        except Forbidden as refused:
            await problem_json.response(refused)(scope, receive, send)
            return
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            await problem_json.response(Unavailable("the database does not answer"))(scope, receive, send)
            return
        if access is None:
            await _turned_away(request)(scope, receive, send)
            return
        scope.setdefault("state", {})["access"] = access
        await self._app(scope, receive, send)

    def _access(self, request: Request) -> tokens.Access | None:
        if is_for_programs(request.url.path):
            scheme, _, presented = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                return None
            with self._plane.store.read() as session:
                return _admitted(session, tokens.authenticate(session, presented.strip()))
        identifier = request.session.get(SESSION_TOKEN)
        if not isinstance(identifier, str):
            return None
        # The cookie holds the token's id alone: a token revoked since is found out here.
        with self._plane.store.read() as session:
            return _admitted(session, tokens.recall(session, identifier))


def _admitted(session: Session, access: tokens.Access | None) -> tokens.Access | None:
    """Whom a token is of. Raises `Forbidden` for a token of an evicted sidecar, whatever it asks for."""
    if access is not None and access.system is not None and access.sidecar is not None:
        enrolment.require_admitted(session, access.system, access.sidecar)
    return access


def is_anonymous(path: str) -> bool:
    """Whether a path is open to everyone."""
    return path in ANONYMOUS or path.startswith(ANONYMOUS_BELOW)


def is_for_programs(path: str) -> bool:
    """Whether errors are problem documents, rather than pages."""
    return path.startswith(_PROGRAMS)


def _turned_away(request: Request) -> Response:
    if is_for_programs(request.url.path):
        return problem_json.response(
            Unauthenticated("present an API token: Authorization: Bearer placet_…"), {"WWW-Authenticate": "Bearer"}
        )
    if "hx-request" in request.headers:
        # htmx would swap the login page into the list; this header makes it go there instead.
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(there, safe='')}" if there != "/" else "/login", status_code=303)
