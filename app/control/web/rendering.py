"""Render templates: everything is escaped, and the browser is told to run and load nothing but our own files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import HTMLResponse

from app.control import modes
from app.control.decision_list import rfc3339
from app.control.plane import Plane
from app.control.store import is_outage
from app.control.tokens import Access, Scope

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    # A live filter asks for a part of the page under the page's own address.
    "Vary": "HX-Request",
}

#: Address, words, and the scope that shows the entry.
_MENU = (
    ("/decisions", "Decisions", Scope.DECISION_READ),
    ("/warrants", "Warrants", Scope.WARRANT_READ),
    ("/executions", "Executions", Scope.WARRANT_READ),
    ("/systems", "Systems", Scope.SYSTEM_READ),
    ("/sidecars", "Sidecars", Scope.SYSTEM_READ),
    ("/issuers", "Issuers", Scope.SYSTEM_READ),
    ("/quarantine", "Quarantine", Scope.SYSTEM_READ),
    ("/keeping", "Keeping", Scope.SYSTEM_READ),
)

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(request: Request, template: str, page: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """A page, or a part of one."""
    access = getattr(request.state, "access", None)
    html = _environment.get_template(template).render(
        {
            "access": access,
            "menu": [(address, words) for address, words, scope in _MENU if access and access.may(scope)],
            "path": request.url.path,
            **_modes(request, access),
            **page,
        }
    )
    # A record may hold what UTF-8 cannot say.
    return HTMLResponse(html.encode("utf-8", "replace"), status, HEADERS)


def _modes(request: Request, access: Access | None) -> dict[str, Any]:
    """The modes in force or to come, for the banner of every page that somebody sees who signed in."""
    if access is None or is_live(request):
        return {"modes_shown": [], "modes_unknown": False}
    plane: Plane = request.app.state.plane
    try:
        with plane.store.read() as session:
            found = modes.in_force(session, access.system)
    except SQLAlchemyError as error:
        if not is_outage(error):
            raise
        return {"modes_shown": [], "modes_unknown": True}
    shown = [
        {
            "kind": mode.kind,
            "condition": modes.condition(mode),
            "system": mode.system,
            "until": mode.ends_at,
            "reason": mode.reason,
            "signers": ", ".join(signer["identity"] for signer in mode.signers),
            "id": mode.id,
        }
        for mode in found
    ]
    return {"modes_shown": shown, "modes_unknown": False}


def is_live(request: Request) -> bool:
    """Whether htmx asks for a part of the page; when it restores its history it wants the whole."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def ago(span: timedelta) -> str:
    """A span of time in the unit that fits."""
    seconds = int(span.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def when(moment: datetime | int | str) -> str:
    """A time as people read it, UTC to the millisecond; nanoseconds since 1970 are a time too."""
    if isinstance(moment, int):
        text = rfc3339(moment)
        return f"{text[:10]} {text[11:23]}"
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def exact(moment: datetime | int) -> str:
    """A time for the `datetime` attribute."""
    return rfc3339(moment) if isinstance(moment, int) else moment.astimezone(UTC).isoformat()


def short(digest: str | None) -> str:
    """A digest as people compare it."""
    return f"{digest.removeprefix('sha256:')[:12]}…" if digest else ""


_environment.filters.update(when=when, exact=exact, short=short, ago=ago)
