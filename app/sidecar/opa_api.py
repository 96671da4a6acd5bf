"""The agent's side of OPA's REST API, over the unix socket: write the state, read status and counts, probe."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.core.errors import PlacetError
from app.sidecar.http_clients import Clients

#: Answers larger than this are not OPA's.
_MAX_ANSWER = 8 * 1024 * 1024

_COUNT = re.compile(r"^http_request_duration_seconds_count\{(?P<labels>[^}]*)\} (?P<value>[0-9.e+]+)$", re.MULTILINE)


#: Bytes of a request body that OPA reads at most, from its callers and from the agent alike.
MAX_REQUEST = 128 * 1024


def encoded(document: Mapping[str, Any]) -> bytes:
    """A document as it is sent to OPA."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class OpaUnavailable(PlacetError):
    """OPA did not answer, or not as OPA answers."""


@dataclass(frozen=True)
class BundleStatus:
    """What OPA says of the bundle: the active revision, and why the last activation failed, if it did."""

    active_revision: str
    error: str | None
    #: OPA's own id, fresh for each process; every record carries it.
    opa_id: str


@dataclass(frozen=True)
class Answer:
    """OPA's answer to a query, whatever it is."""

    status: int
    body: bytes


class OpaApi:
    """One OPA process, known by its socket and by the token that only the agent has. Threads may share it."""

    def __init__(self, socket: Path, token: str, *, timeout: float) -> None:
        """`timeout`: seconds for any one call."""

        def client() -> httpx.Client:
            transport = httpx.HTTPTransport(uds=str(socket))
            return httpx.Client(transport=transport, base_url="http://opa", timeout=timeout, trust_env=False)

        self._clients = Clients(client)
        self._authorized = {"Authorization": f"Bearer {token}"}

    def close(self) -> None:
        """Close the connections."""
        self._clients.close()

    def put_state(self, document: Mapping[str, Any]) -> None:
        """Write the whole of `data.placet_state`."""
        answer = self._call("PUT", "/v1/data/placet_state", content=encoded(document))
        if answer.status_code not in {httpx.codes.NO_CONTENT, httpx.codes.OK}:
            raise OpaUnavailable(f"OPA refused the state: status {answer.status_code}")

    def ask(self, path: str, request: Mapping[str, Any]) -> Answer:
        """Ask for the value of a rule, such as `placet/start`, about `request`. OPA keeps a record of it."""
        answer = self._call("POST", f"/v1/data/{path}", content=encoded({"input": request}))
        return Answer(answer.status_code, answer.content)

    def status(self) -> BundleStatus:
        """What OPA runs, read from its status API: reading data would leave records."""
        result = self._json("/v1/status").get("result") or {}
        bundle = (result.get("bundles") or {}).get("placet") or {}
        error = None
        if errors := bundle.get("errors"):  # a download that failed has none, and is tried again
            error = f"{bundle.get('message', '')}: {errors[0].get('message', '')}".rstrip(": ")
        return BundleStatus(
            active_revision=str(bundle.get("active_revision", "")),
            error=error,
            opa_id=str((result.get("labels") or {}).get("id", "")),
        )

    def answered(self) -> int:
        """How many decision requests OPA has answered, by its own count."""
        answer = self._call("GET", "/metrics")
        if answer.status_code != httpx.codes.OK:
            raise OpaUnavailable(f"OPA gave no metrics: status {answer.status_code}")
        total = 0.0
        for found in _COUNT.finditer(answer.text):
            labels = found["labels"]
            if 'handler="v1/data"' in labels and 'method="post"' in labels:
                total += float(found["value"])
        return int(total)

    def is_closed(self) -> bool:
        """Whether OPA refuses those who have no token."""
        probes = (("GET", "/v1/data"), ("GET", "/v1/policies"), ("POST", "/v1/query"), ("PUT", "/v1/data/placet_state"))
        codes = [self._call(method, path, authorized=False, content=b"{}").status_code for method, path in probes]
        return all(code == httpx.codes.UNAUTHORIZED for code in codes)

    def _json(self, path: str) -> dict[str, Any]:
        answer = self._call("GET", path)
        if answer.status_code != httpx.codes.OK:
            raise OpaUnavailable(f"OPA answered {path} with status {answer.status_code}")
        document = answer.json()
        if not isinstance(document, dict):
            raise OpaUnavailable(f"OPA's answer to {path} is not an object")
        return document

    def _call(self, method: str, path: str, *, authorized: bool = True, content: bytes | None = None) -> httpx.Response:
        headers = self._authorized if authorized else {}
        try:
            with (
                self._clients.borrow() as http,
                http.stream(method, path, headers=headers, content=content) as answer,
            ):
                body = b""
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _MAX_ANSWER:
                        raise OpaUnavailable(f"OPA's answer to {path} is too large")
        except (httpx.HTTPError, ValueError) as error:
            raise OpaUnavailable(f"OPA does not answer: {error or type(error).__name__}") from error
        return httpx.Response(answer.status_code, content=body)
