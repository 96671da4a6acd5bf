"""The ASGI application of the control plane."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import Response

from app.control import web
from app.control.api import (
    allowances,
    batches,
    channels,
    decisions,
    domains,
    enrolment,
    environment,
    erasures,
    execution_lineage,
    executions,
    forwards,
    governance,
    grants,
    health,
    holds,
    identity,
    impact,
    issuers,
    libraries,
    lineage,
    links,
    log_entries,
    modes,
    oauth,
    problem_json,
    quarantine,
    record_feed,
    releases,
    retention,
    searches,
    sidecars,
    signing_keys,
    states,
    systems,
    tokens,
    tuf,
    warrants,
)
from app.control.break_signing import BreakSigning, Sign
from app.control.counting import RequestCount
from app.control.erasing_worker import Erasing
from app.control.forward_worker import Forwarding
from app.control.freshness import DEFAULT_INTERVAL, Freshness
from app.control.gate import Gate, is_for_programs
from app.control.jwks_refresh import Refreshing
from app.control.limits import BodyLimit
from app.control.objects import is_private
from app.control.plane import Plane
from app.control.problems import Unavailable
from app.control.store import is_outage
from app.control.weeks import Weeks
from app.core.errors import PlacetError

log = logging.getLogger("placet.control")

#: Seconds: an older timestamp means that nobody signs, and that sidecars with short horizons deny or soon will. One
#: signature that failed means less: the next one, or another control plane of this database, may make up for it.
STALE_AFTER = 60

#: Seconds that a login lasts.
SESSION_LIFETIME = 12 * 3600


def create_app(
    plane: Plane,
    *,
    freshness_interval: float = DEFAULT_INTERVAL,
    secure_cookies: bool = False,
    sign: Sign | None = None,
) -> FastAPI:
    """The app over an opened control plane. `secure_cookies` when it is served with TLS.

    `sign`: signs what is said of breaks; None: nothing does.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        freshness = Freshness(plane, freshness_interval)
        workers: list[Freshness | Refreshing | Forwarding | Erasing | Weeks | BreakSigning]
        workers = [freshness, Refreshing(plane), Forwarding(plane), Erasing(plane), Weeks(plane)]
        if sign is not None:
            workers.append(BreakSigning(plane, sign))
        # What was started is stopped, also where the next one does not start, or one does not stop.
        async with AsyncExitStack() as stack:
            stack.callback(plane.close)
            for one in workers:
                await run_in_threadpool(one.start)
                stack.push_async_callback(run_in_threadpool, one.stop)
            yield

    app = FastAPI(
        title="Placet control plane",
        version=version("placet"),
        lifespan=lifespan,
        # The document is served behind the gate, see `api.health`; nothing is loaded from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.plane = plane
    app.state.stale_after = timedelta(seconds=max(STALE_AFTER, 3 * freshness_interval))
    for module in (
        systems,
        releases,
        channels,
        quarantine,
        issuers,
        tokens,
        sidecars,
        record_feed,  # before the decisions, of which `records` would be one
        decisions,
        impact,
        tuf,
        health,
        domains,
        grants,
        governance,
        modes,
        environment,
        warrants,
        executions,
        execution_lineage,
        signing_keys,
        oauth,
        identity,
        enrolment,
        allowances,
        batches,
        lineage,
        links,
        log_entries,
        states,
        libraries,
        searches,
        forwards,
        erasures,
        holds,
        retention,
    ):
        app.include_router(module.router)
    web.install(app)
    for kind in (PlacetError, SQLAlchemyError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)

    # The last one added is the outermost: count, then bound the body, then sessions, then the gate.
    app.add_middleware(Gate, plane=plane)
    app.add_middleware(
        SessionMiddleware,
        secret_key=_session_key(plane),
        session_cookie="placet_session",
        max_age=SESSION_LIFETIME,
        same_site="strict",
        https_only=secure_cookies,
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestCount, metrics=plane.metrics)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    """Every error is a problem document for programs and a page for people."""
    if isinstance(error, SQLAlchemyError) and is_outage(error):
        error = Unavailable("the database does not answer; nothing was changed")
    status, detail, members = problem_json.describe(error)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error, exc_info=error if status == 500 else None)
    if is_for_programs(request.url.path) or web.is_machine(request):
        headers = getattr(error, "headers", None)
        return problem_json.document(status, detail, members, headers)
    return web.error_page(request, status, detail)


def _session_key(plane: Plane) -> str:
    file = plane.settings.session_key
    try:
        if not is_private(file):
            raise PlacetError(f"others can read {file}; run: chmod 600 {file}")
        key = file.read_text().strip()
    except OSError as error:
        raise PlacetError(f"cannot read {file}: {error.strerror}") from error
    if len(key) < 32:
        raise PlacetError(f"{file} is damaged; restore it from a backup")
    return key
