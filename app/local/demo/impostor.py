"""A process that takes a port that is not its own and answers "allow" there, with a certificate of its own making."""

from __future__ import annotations

import json
import socket
import ssl
import tempfile
import threading
from pathlib import Path

from app.local.demo.parts import eventually
from app.sidecar.pki import SidecarCA

_ANSWER = json.dumps({"decision_id": "forged", "result": {"allow": True, "reasons": [], "obligations": []}}).encode()


class Impostor:
    """Listens with TLS on a port. A context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        #: How often somebody connected.
        self.connections = 0
        #: First lines of the requests that somebody sent, because it believed the certificate.
        self.requests: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="impostor", daemon=True)

    def __enter__(self) -> Impostor:
        with tempfile.TemporaryDirectory() as scratch:
            files = [Path(scratch) / name for name in ("ca.key", "ca.pem", "leaf.pem", "leaf.key")]
            SidecarCA.open(files[0], files[1]).server_leaf(files[2], files[3])
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(files[2], files[3])
        self._socket = eventually("the port is free", self._taken, within=10)
        self._socket.settimeout(0.2)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)
        self._socket.close()

    def _taken(self) -> socket.socket | None:
        """The port, once whoever was killed there has left it."""
        try:
            return socket.create_server(("127.0.0.1", self.port))
        except OSError:
            return None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            self.connections += 1
            with connection:
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(2)
        try:
            with self._context.wrap_socket(connection, server_side=True) as tls:
                first = tls.recv(65536)
                if first:
                    self.requests.append(first.split(b"\r\n", 1)[0].decode(errors="replace"))
                    head = (
                        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_ANSWER)}\r\n\r\n"
                    )
                    tls.sendall(head.encode() + _ANSWER)
        except OSError:
            return  # the client refused the certificate: what it should do
