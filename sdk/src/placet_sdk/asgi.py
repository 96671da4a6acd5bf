"""Middleware for every ASGI framework (FastAPI, Starlette, Litestar, Quart …), in plain ASGI."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypedDict

from placet_sdk import codes
from placet_sdk.asynchronous import AsyncPlacet
from placet_sdk.decision import Decision
from placet_sdk.errors import ConfigurationError, Denied
from placet_sdk.governed import under
from placet_sdk.identity import bearer_token, request_identity
from placet_sdk.question import Action, Resource

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: WebSocket close code: the policy does not allow it (RFC 6455, section 7.4.1).
_POLICY_VIOLATION = 1008


@dataclass(frozen=True)
class Request:
    """What a middleware's mapping sees of an HTTP request or of the opening of a WebSocket."""

    #: Upper case; "WEBSOCKET" for the opening of one.
    method: str
    #: Decoded, as the framework's router reads it.
    path: str
    #: Undecoded, without `?`.
    query: str
    #: By lower-case name; of a header that stands twice, both values with a comma.
    headers: Mapping[str, str]


class _Open(Enum):
    OPEN = "open"


#: What a mapping gives for a request that needs no decision, such as a health check.
OPEN = _Open.OPEN


class Needs(TypedDict, total=False):
    """What a request needs to be allowed: the question that a mapping gives. `action` and `resource` at least."""

    action: Action
    resource: Resource
    context: Mapping[str, Any]


Mapper = Callable[[Request], Needs | _Open | None]


class PlacetMiddleware:
    """Answers 403 (problem+json, RFC 9457) to what is denied.

    Alone it makes the request's bearer token known to `request_identity`, and turns Denied, raised by anything inside,
    into the answer. With `placet` and `needs` it also asks about every request, before the application sees it.
    """

    def __init__(self, app: Application, placet: AsyncPlacet | None = None, needs: Mapper | None = None) -> None:
        """`needs` gives what a request needs, or OPEN; a request for which it gives None is denied."""
        if (placet is None) != (needs is None):
            raise ConfigurationError("PlacetMiddleware takes placet and needs together, or neither")
        self._app = app
        self._placet = placet
        self._needs = needs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise ConfigurationError(f"PlacetMiddleware knows nothing about {scope['type']!r} and lets none pass")
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        token = bearer_token.set(_bearer(scope))
        try:
            await self._serve(scope, receive, watched)
        except Denied as denied:
            if begun:
                raise
            await _refuse(scope, send, denied.decision)
        finally:
            bearer_token.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._placet is None or self._needs is None:
            await self._app(scope, receive, send)
            return
        needed = self._needs(_request(scope))
        if needed is OPEN:
            await self._app(scope, receive, send)
            return
        if needed is None:
            raise Denied(Decision.deny(codes.REQUEST_MALFORMED, "nothing says what this request needs"))
        with under(await self._placet.require(**needed, identity=request_identity)):
            await self._app(scope, receive, send)


def _request(scope: Scope) -> Request:
    headers: dict[str, str] = {}
    for name, value in _headers(scope):
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    method = scope["method"].upper() if scope["type"] == "http" else "WEBSOCKET"
    return Request(method, scope["path"], scope.get("query_string", b"").decode("latin-1"), headers)


def _headers(scope: Scope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]


def _bearer(scope: Scope) -> str:
    """The bearer token (RFC 6750); none for several `Authorization` headers: which one counts is anyone's guess."""
    found = [value for name, value in _headers(scope) if name == "authorization"]
    scheme, _, token = (found[0] if len(found) == 1 else "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _refuse(scope: Scope, send: Send, decision: Decision) -> None:
    if scope["type"] == "websocket":
        # Closing instead of accepting makes servers answer 403.
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": decision.codes[0]})
        return
    body = json.dumps(problem(decision)).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def problem(decision: Decision) -> dict[str, Any]:
    """The problem document (RFC 9457) of a denial, for answers of one's own."""
    reasons = [{"code": code, "message": message} for code, message in decision.reasons]
    members = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": reasons[0]["message"]}
    return members | {"reasons": reasons, "decision_id": decision.decision_id}
