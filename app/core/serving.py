"""An HTTP server in a thread of this process, on a socket that is bound already: uvicorn, with its gaps closed."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

#: Seconds for a TLS handshake. uvicorn leaves asyncio's minute, in which any client could hold connections open.
HANDSHAKE = 3.0
#: Seconds that a request may go on when the server is stopped, and that `stop` waits for the thread.
_GRACE, _JOIN = 1, 5


@dataclass(frozen=True)
class Tls:
    """A server's certificate and key; with `client_ca`, clients must have a certificate of that CA."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class ThreadedServer:
    """Serves one application from a thread of its own, until stopped."""

    def __init__(
        self,
        application: Starlette,
        listener: socket.socket,
        name: str,
        *,
        tls: Tls | None = None,
        max_connections: int | None = None,
    ) -> None:
        """`name`: of the thread. `max_connections`: more get 503. The server owns `listener` from now on."""
        self._listener = listener
        if listener.family != socket.AF_UNIX:
            # asyncio leaves it to sockets that name their protocol; without it each answer waits 40 ms for an ACK.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                ssl_certfile=tls.certificate if tls else None,
                ssl_keyfile=tls.key if tls else None,
                ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
                ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.client_ca else ssl.CERT_NONE,
                limit_concurrency=max_connections,
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(tls is not None)), name=name, daemon=True
        )

    def start(self) -> None:
        """Begin to answer. Connections made before that wait."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the socket."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=_JOIN)
        self._listener.close()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the server's thread, if it serves."""
        if self._event_loop is not None:
            self._event_loop.call_soon_threadsafe(callback)

    async def _serve(self, secure: bool) -> None:
        loop = self._event_loop = asyncio.get_running_loop()
        if secure:
            loop.create_server = partial(  # type: ignore[method-assign]
                loop.create_server, ssl_handshake_timeout=HANDSHAKE
            )
        await self._server.serve(sockets=[self._listener])
