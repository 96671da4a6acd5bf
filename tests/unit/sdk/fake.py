"""A sidecar that answers whatever a test wants, byte by byte: for what a real one cannot be made to do."""

from __future__ import annotations

import contextlib
import copy
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from placet_sdk import AsyncPlacet, Decision, Placet

SUBJECT = {"issuer": "https://idp.example.org", "id": "spiffe://example.org/api", "domain": "example.org", "actors": []}


def result(allow: bool = True, **changes: Any) -> dict[str, Any]:
    """A decision's result in its documented form, with `changes`; a value of `...` leaves the member out."""
    members = {
        "allow": allow,
        "reasons": [] if allow else [{"code": "policy.denied", "message": "The policy denies the request."}],
        "obligations": [],
        "bundles": {"policy": "sha256:aa", "library": "sha256:bb"},
        "subject": copy.deepcopy(SUBJECT),
        "warrant": None,
        "execution": None,
        "mode": None,
        "state": "sha256:cc",
        "expires_at": in_seconds(10) if allow else None,
    } | changes
    return {name: value for name, value in members.items() if value is not ...}


def in_seconds(seconds: float) -> str:
    """A time as OPA writes it, with nanoseconds."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f789Z")


def answer(allow: bool = True, **changes: Any) -> bytes:
    """OPA's answer."""
    return json.dumps({"decision_id": "d-1", "result": result(allow, **changes)}).encode()


def http(status: int, body: bytes, headers: str = "") -> bytes:
    """An HTTP answer."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def input(self) -> dict[str, Any]:
        return json.loads(self.body)["input"]


Behaviour = Callable[[socket.socket, Received], None]


def says(raw: bytes) -> Behaviour:
    """Send these bytes."""
    return lambda connection, received: connection.sendall(raw)


@dataclass
class Sidecar:
    """Listens until closed. `behaviour` may change at any time."""

    listener: socket.socket
    url: str
    behaviour: Behaviour = field(default_factory=lambda: says(http(200, answer())))
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    tls: ssl.SSLContext | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def serve(self) -> None:
        self.listener.settimeout(0.1)
        while not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), self._wrapped(connection) as connection:
            while received := self._receive(connection):
                self.received.append(received)
                self.behaviour(connection, received)

    def _wrapped(self, connection: socket.socket) -> socket.socket:
        return self.tls.wrap_socket(connection, server_side=True) if self.tls else connection

    def _receive(self, connection: socket.socket) -> Received | None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            if not (chunk := connection.recv(65536)):
                return None
            raw += chunk
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += connection.recv(65536)
        return Received(first.split()[1], headers, body)

    def drip(self, raw: bytes, every: float = 0.05) -> Behaviour:
        """Send a byte now and then."""

        def behave(connection: socket.socket, received: Received) -> None:
            for byte in raw:
                if self.stopping.wait(every):
                    return
                connection.sendall(bytes([byte]))

        return behave

    def silent(self, connection: socket.socket, received: Received) -> None:
        """Say nothing."""
        self.stopping.wait(30)

    def hang_up(self, connection: socket.socket, received: Received) -> None:
        """Close without a word."""
        connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def running(unix: Path | None = None, tls: tuple[Path, Path] | None = None) -> Iterator[Sidecar]:
    """A fake sidecar on a free port of 127.0.0.1, with this certificate and key, or on a unix socket."""
    if unix is None:
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(unix))
        listener.listen()
        url = f"unix://{unix}"
    sidecar = Sidecar(listener, url)
    if tls is not None:
        sidecar.url = url.replace("http", "https")
        sidecar.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        sidecar.tls.load_cert_chain(*tls)
    thread = threading.Thread(target=sidecar.serve, daemon=True)
    thread.start()
    try:
        yield sidecar
    finally:
        sidecar.stopping.set()
        thread.join(5)
        listener.close()


@dataclass
class Client:
    """One of the two clients, driven from a blocking test."""

    kind: str
    url: str

    def make(self, **options: Any) -> Any:
        options = {"insecure_loopback": True, "identity": "a.b.c", "timeout": 5.0} | options
        return (AsyncPlacet if self.kind == "async" else Placet)(self.url, **options)

    def decide(self, *args: Any, client: dict[str, Any] | None = None, **options: Any) -> Decision:
        return self.each([(args, options)], client)[0]

    def each(self, questions: list[tuple[Any, Any]], client: dict[str, Any] | None = None) -> list[Decision]:
        """Ask one after the other with one client; a question may be a function to call in between."""
        made = self.make(**(client or {}))

        async def asynchronous() -> list[Decision]:
            async with made:
                return [await made.decide(*(args or DEFAULT), **options) for args, options in questions]

        if self.kind == "async":
            return anyio.run(asynchronous)
        with made:
            return [made.decide(*(args or DEFAULT), **options) for args, options in questions]


DEFAULT = ("read", ("payment", "p-1"))


def codes_of(decision: Decision) -> list[str]:
    assert not decision.allow
    assert not decision
    return decision.codes
