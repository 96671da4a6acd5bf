"""Serves the tiles of the local Rekor, which writes them and answers no reads itself.

As a static server does in production, below the same prefix as the public instance: `/api/v2/checkpoint` and
`/api/v2/tile/…` (C2SP's tlog-tiles). Everybody may read a transparency log; the server's own state is no part of it.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.core.serving import ThreadedServer

PREFIX = "/api/v2"

#: The names of C2SP's tlog-tiles, and nothing else that may lie in the directory.
_TILE = re.compile(r"([0-9]{1,2}|entries)/(x[0-9]{3}/)*[0-9]{3}(\.p/[0-9]{1,3})?")

_MUTABLE = {"Cache-Control": "no-store"}
_IMMUTABLE = {"Cache-Control": "max-age=31536000, immutable"}


class TileServer:
    """Serves one log's directory from a thread of this process, on an already bound socket."""

    def __init__(self, directory: Path, listener: socket.socket) -> None:
        async def checkpoint(_: Request) -> Response:
            return _file(directory / "checkpoint", "text/plain; charset=utf-8", _MUTABLE)

        async def tile(request: Request) -> Response:
            name = request.path_params["name"]
            if not _TILE.fullmatch(name):
                return _nothing()
            return _file(directory / "tile" / name, "application/octet-stream", _IMMUTABLE)

        async def healthz(_: Request) -> Response:
            return PlainTextResponse("ok")

        routes = [
            Route(f"{PREFIX}/checkpoint", checkpoint),
            Route(f"{PREFIX}/tile/{{name:path}}", tile),
            Route(f"{PREFIX}/healthz", healthz),
        ]
        self._server = ThreadedServer(Starlette(routes=routes), listener, "log-tiles")

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._server.stop()


def _file(path: Path, kind: str, headers: dict[str, str]) -> Response:
    return FileResponse(path, media_type=kind, headers=headers) if path.is_file() else _nothing()


def _nothing() -> Response:
    return PlainTextResponse("no such tile\n", status_code=404, headers=_MUTABLE)
