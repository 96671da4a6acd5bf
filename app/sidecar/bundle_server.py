"""Serves the one composed bundle to OPA, over HTTPS that both ends pin to the sidecar's CA.

Speaks what OPA's bundle plugin asks: ETag, 304, long polling (https://www.openpolicyagent.org/docs/management-bundles).
"""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.core.compose import Composed
from app.core.serving import ThreadedServer, Tls

RESOURCE = "bundle"

#: OPA goes on long-polling only when every 200 and 304 has exactly this type.
_CONTENT_TYPE = "application/vnd.openpolicyagent.bundles"
#: Seconds of the longest poll that is answered.
_MAX_WAIT = 60


class BundleServer:
    """Offers one bundle at a time; `offer` replaces it and wakes the poll that waits."""

    def __init__(self, certificate: Path, key: Path, ca: Path) -> None:
        self._offered: Composed | None = None
        self._changed = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        application = Starlette(routes=[Route(f"/{RESOURCE}", self._bundle)])
        self._server = ThreadedServer(application, listener, "bundle-server", tls=Tls(certificate, key, client_ca=ca))

    def start(self) -> None:
        """Serve from a thread of its own."""
        self._server.start()

    def stop(self) -> None:
        """End the thread and close the port."""
        self._server.stop()

    def offer(self, composed: Composed) -> None:
        """From now on OPA gets this bundle."""
        self._offered = composed
        self._server.call_soon(self._changed.set)

    async def _bundle(self, request: Request) -> Response:
        known = request.headers.get("if-none-match", "").strip('"')
        deadline = asyncio.get_running_loop().time() + _wait(request.headers.get("prefer", ""))
        while True:
            self._changed.clear()
            offered = self._offered
            if offered is not None and offered.revision != known:
                return Response(offered.raw, headers=_headers(offered))
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            try:
                await asyncio.wait_for(self._changed.wait(), timeout=left)
            except TimeoutError:
                break
        if offered is None:
            return Response(status_code=404)
        return Response(status_code=304, headers=_headers(offered))


def _headers(composed: Composed) -> dict[str, str]:
    return {"ETag": f'"{composed.revision}"', "Content-Type": _CONTENT_TYPE}


def _wait(prefer: str) -> float:
    found = re.search(r"\bwait=(\d{1,5})\b", prefer)
    return min(int(found.group(1)), _MAX_WAIT) if found else 0.0
