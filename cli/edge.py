"""A sidecar's edge, as commands talk to it: HTTPS pinned to the sidecar's own CA, or its unix socket."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from app.core import strict_json
from app.core.errors import Denied, PlacetError, UsageError, reason_of

if TYPE_CHECKING:
    import httpx

EdgeOption = Annotated[
    str | None,
    typer.Option("--edge", envvar="PLACET_EDGE", help="The edge's address, such as https://127.0.0.1:8182."),
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", envvar="PLACET_EDGE_CA", help="The sidecar's CA (its ca.pem), the only one that is trusted."),
]
SocketOption = Annotated[
    Path | None, typer.Option("--socket", help="The edge's unix socket (run/edge.sock), in place of --edge and --ca.")
]

#: Seconds. Starting an execution may redeem a warrant at the control plane.
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 30.0

_MAX_ANSWER = 512 * 1024


class Edge:
    """A connection to a sidecar's edge. Whatever is not a clear yes is a denial."""

    def __init__(self, client: httpx.Client, name: str) -> None:
        self._client = client
        self._name = name

    def __enter__(self) -> Edge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """POST JSON; the status, 200 or 403, and the answer. Raises `Denied` for a refusal, else `PlacetError`."""
        return self._send("POST", path, json=body)

    def get(self, path: str, token: str) -> tuple[int, dict[str, Any]]:
        """GET for whoever holds this token. As `post`."""
        return self._send("GET", path, headers={"Authorization": f"Bearer {token}"})

    def _send(self, method: str, path: str, **request: Any) -> tuple[int, dict[str, Any]]:
        import httpx

        try:
            with self._client.stream(method, path, **request) as response:
                raw = b""
                for part in response.iter_bytes():
                    raw += part
                    if len(raw) > _MAX_ANSWER:
                        raise PlacetError(f"{self._name} answered with more than {_MAX_ANSWER} bytes")
        except httpx.TimeoutException as error:
            raise PlacetError(f"{self._name} did not answer in time, so nothing may run") from error
        except httpx.HTTPError as error:
            raise PlacetError(
                f"cannot reach {self._name}: {error or type(error).__name__}; "
                "does the sidecar run with --edge-port, and is --ca its ca.pem?"
            ) from error
        return response.status_code, self._answer(response.status_code, raw)

    def _answer(self, status: int, raw: bytes) -> dict[str, Any]:
        try:
            answer = strict_json.load_object(raw)
        except strict_json.StrictJSONError as error:
            raise PlacetError(f"{self._name} answered {status} without a document; is it a sidecar's edge?") from error
        if status in (200, 403) and "reason" not in answer:
            return answer
        detail = str(answer.get("detail") or answer.get("title") or f"status {status}")
        if (reason := reason_of(answer.get("reason"))) is not None:
            raise Denied(reason, detail)
        raise PlacetError(f"{self._name}: {detail}")


def connect(edge: str | None, ca: Path | None, socket: Path | None) -> Edge:
    """The edge that the options name. Nothing is taken from the environment's proxies or CAs. Raises `UsageError`."""
    import httpx

    timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    if socket is not None:
        if edge or ca:
            raise UsageError("give --edge with --ca, or --socket, not both")
        transport = httpx.HTTPTransport(uds=str(socket))
        client = httpx.Client(base_url="http://edge", transport=transport, timeout=timeout, trust_env=False)
        return Edge(client, f"the sidecar at {socket}")
    if edge is None or ca is None:
        raise UsageError(
            "say where the sidecar is: --edge https://127.0.0.1:PORT with --ca ca.pem, also as PLACET_EDGE and "
            "PLACET_EDGE_CA; or --socket"
        )
    parts = urlsplit(edge)
    if parts.scheme != "https" or not parts.hostname:
        raise UsageError(f"--edge is an https address, not {edge!r}; without TLS use --socket")
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot read the CA {ca}: {error.strerror or error}") from error
    return Edge(httpx.Client(base_url=edge, verify=context, timeout=timeout, trust_env=False), f"the sidecar at {edge}")
