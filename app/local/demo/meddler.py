"""Somebody between a sidecar and its control plane, who passes requests on, or meddles with them.

Plain HTTP, on loopback, for the demo and the tests: it shows that the sidecar believes signatures and not its
network.
"""

from __future__ import annotations

import socket
from typing import Literal

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.core.serving import ThreadedServer

Mode = Literal["pass", "replay", "change", "no-records", "cut"]


class Meddler:
    """A proxy. `mode` says what it does: pass everything; replay recorded metadata; change bundles on their way;
    refuse records; or answer nothing at all."""

    def __init__(self, upstream: str) -> None:
        self.mode: Mode = "pass"
        #: Answers of the meddler's own, by path; they come before everything else.
        self.forged: dict[str, bytes] = {}
        self._upstream = httpx.AsyncClient(base_url=upstream, timeout=20, trust_env=False)
        self._recorded: dict[str, Response] = {}
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = Starlette(routes=[Route("/{path:path}", self._handle, methods=["GET", "POST", "PUT"])])
        self._server = ThreadedServer(app, listener, "meddler")

    def start(self) -> None:
        """Serve from a thread of its own."""
        self._server.start()

    def stop(self) -> None:
        """End the thread and close the port."""
        self._server.stop()

    async def _handle(self, request: Request) -> Response:
        path = request.url.path
        if path in self.forged:
            return Response(self.forged[path])
        if self.mode == "cut" or (self.mode == "no-records" and path.endswith(("/records", "/batches"))):
            return Response(status_code=503)
        if self.mode == "replay" and path in self._recorded:
            return self._recorded[path]
        answer = await self._upstream.request(
            request.method,
            path,
            params=dict(request.query_params),
            content=await request.body(),
            headers={
                name: value
                for name, value in request.headers.items()
                if name in {"authorization", "content-type", "content-encoding"}
            },
        )
        body = answer.content
        if self.mode == "change" and path.endswith(".bundle.tar.gz"):
            body = body[:-1] + bytes([body[-1] ^ 1])
        passed = Response(body, answer.status_code, {"content-type": answer.headers.get("content-type", "")})
        if self.mode == "pass" and "/tuf/metadata/" in path and answer.is_success:
            self._recorded.setdefault(path, passed)
        return passed
