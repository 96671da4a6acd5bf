"""Requests to the edge, read so that nobody else could read them otherwise, and answered within bounds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from app.core import strict_json
from app.core.reason_codes import Reason

#: Bytes of a request's body: OPA takes a little more, since the agent adds to it.
MAX_BODY = 96 * 1024
#: Seconds for a request's body, and for the answer.
BODY_TIMEOUT, TIMEOUT = 5.0, 15.0
#: Characters of a token that is looked at.
MAX_TOKEN = 16_384
#: Requests that are worked on at once. Each may wait for OPA and for the control plane.
CONCURRENT = 24

_T = TypeVar("_T")

Handler = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """The request is refused before anything was decided: an HTTP status, a line of text, and a reason code."""

    def __init__(self, status: int, detail: str, reason: Reason = Reason.REQUEST_MALFORMED) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reason = reason

    def problem(self) -> Response:
        """The refusal as problem+json (RFC 9457)."""
        titles = {
            400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 413: "Content Too Large",
            415: "Unsupported Media Type", 503: "Busy",
        }  # fmt: skip
        document = {
            "type": "about:blank",
            "title": titles.get(self.status, "Refused"),
            "status": self.status,
            "detail": self.detail,
            "reason": str(self.reason),
        }
        return JSONResponse(document, self.status, self.headers(), media_type="application/problem+json")

    def headers(self) -> dict[str, str]:
        """The connection ends: what is left of the body would be read for nothing."""
        return {"Connection": "close", **({"Retry-After": "1"} if self.status == 503 else {})}


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object: no duplicate keys, no invalid UTF-8, nothing deep or long. Raises `Refused`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "send application/json, as it is")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise Refused(413, f"a request has at most {MAX_BODY} bytes")
    except TimeoutError as error:
        raise Refused(400, "the request was not sent in time") from error
    except ClientDisconnect as error:
        raise Refused(400, "the request was not sent whole") from error
    try:
        return strict_json.load_object(bytes(body))
    except strict_json.StrictJSONError as error:
        raise Refused(400, str(error)) from error


def bearer(request: Request) -> str | None:
    """The token of the header `Authorization: Bearer TOKEN`; None where there is none, or one too long to look at."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or len(token) > MAX_TOKEN:
        return None
    return token.strip()


class Workers:
    """Threads for what blocks, as many as there may be at once; whoever comes beyond that is told to come again."""

    def __init__(self, limit: int = CONCURRENT) -> None:
        self._places = threading.BoundedSemaphore(limit)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Do `work` in a thread. Raises `Refused` when all are busy, `TimeoutError` past the time of a request.

        The place is free again only when the thread is: a caller that gave up cannot start more than its share.
        """
        if not self._places.acquire(blocking=False):
            raise Refused(503, "the sidecar is busy", Reason.SIDECAR_UNREACHABLE)

        def release_after() -> _T:
            try:
                return work()
            finally:
                self._places.release()

        running = asyncio.ensure_future(anyio.to_thread.run_sync(release_after, abandon_on_cancel=True))
        return await asyncio.wait_for(running, TIMEOUT)
