"""Bodies are bounded while they are read, before anything parses them."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.control import batch_checks, enrolment, releases, workloads
from app.control.api import problem_json
from app.control.batch_reading import MAX_BATCH
from app.control.problems import TooLarge

#: Bytes of any body that no other limit names.
DEFAULT = 1024 * 1024

#: Multipart headers and boundaries around an upload's three parts.
_FRAMING = 64 * 1024

_LIMITS = (
    (
        re.compile(r"/api/v1/systems/[^/]+/releases"),
        releases.MAX_BUNDLE + releases.MAX_SIGNATURE + releases.MAX_ATTESTATIONS + _FRAMING,
    ),
    (re.compile(r"/api/v1/systems/[^/]+/sidecars/[^/]+/records"), MAX_BATCH),
    (re.compile(r"/api/v1/systems/[^/]+/sidecars/[^/]+/batches"), batch_checks.MAX_BODY),
    # One short token, from anyone.
    (re.compile(re.escape(enrolment.JOIN)), 4096),
    # One identity token.
    (re.compile(re.escape(workloads.ENROL)), 16 * 1024),
    # Two tokens and what is asked for, from anyone.
    (re.compile(r"/oauth/.*"), 64 * 1024),
)


class BodyLimit:
    """ASGI middleware: 413 once a body is longer than its route's limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is not HTTP."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((size for path, size in _LIMITS if path.fullmatch(scope["path"])), DEFAULT)
        if _declared(scope) > limit:
            await problem_json.response(_too_large(limit))(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        await self._app(scope, bounded, send)


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")
