"""The control plane, as commands talk to it over HTTP.

The token comes from a file or from PLACET_TOKEN, never from the arguments, which the whole machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from app.core import loopback
from app.core.errors import Denied, PlacetError, UsageError, reason_of
from app.core.files import read_secret
from cli.progress import busy

if TYPE_CHECKING:
    import httpx

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="PLACET_SERVER",
        help="The control plane's address. Default: http://127.0.0.1:8470.",
        show_default=False,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="A file that holds an API token. Default: the variable PLACET_TOKEN.", show_default=False
    ),
]

DEFAULT_SERVER = "http://127.0.0.1:8470"

#: Of commands that take an id: those that are thumbprints, or that others made, may begin with a hyphen.
TAKES_AN_ID = {"ignore_unknown_options": True}

#: Seconds: to connect; for an answer; and for one to what changes something (the server may check a policy of 10,000
#: rules first).
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 60.0
CHANGE_TIMEOUT = 180.0
#: Seconds of silence after which a stream is taken for broken: it gives a sign of life more often.
STREAM_TIMEOUT = 45.0

_MAX_TOKEN = 4096


#: A parameter of a question: given once, once for each text, or not at all.
Param = str | int | Sequence[str] | None


class Refused(UsageError):
    """What the control plane was given makes no sense (422); `field` names the place in it, where there is one."""

    def __init__(self, detail: str, field: str | None) -> None:
        super().__init__(detail)
        self.field = field


class Missing(PlacetError):
    """The control plane has no such thing (404)."""


class ControlPlane:
    """A connection to a control plane. Methods return parsed JSON, if they do not say otherwise, or raise one line."""

    def __init__(self, client: httpx.Client, server: str) -> None:
        self._client = client
        self._server = server

    def __enter__(self) -> ControlPlane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Ctrl-C may come while the client holds a lock of its own, which closing would wait for without an end.
        if kind is not KeyboardInterrupt:
            self._client.close()

    def get(self, path: str, **params: Param) -> Any:
        """GET; parameters that are None are left out."""
        return self._send("GET", path, params=_given(params))

    def get_bytes(self, path: str, **params: Param) -> bytes | None:
        """GET the bytes of an answer, whatever they are; None where there is nothing (404)."""
        answer: bytes | None = self._send("GET", path, raw=True, absent=True, params=_given(params))
        return answer

    def get_page(self, path: str, **params: Param) -> bytes:
        """GET the bytes of an answer that must be there."""
        answer: bytes = self._send("GET", path, raw=True, params=_given(params))
        return answer

    def lines(self, path: str, headers: Mapping[str, str], **params: Param) -> Iterator[str]:
        """GET an answer that does not end, by line; ends when the connection does."""
        import httpx

        timeout = httpx.Timeout(STREAM_TIMEOUT, connect=CONNECT_TIMEOUT)
        try:
            with self._client.stream(
                "GET", path, params=_given(params), headers=dict(headers), timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    raise _failure(response, self._server)
                yield from response.iter_lines()
        except httpx.ConnectError as error:
            raise PlacetError(f"cannot reach the control plane at {self._server}: {error}") from error
        except httpx.HTTPError:
            return

    def post(self, path: str, *, json: Any, idempotency_key: str | None = None) -> Any:
        """POST a JSON document. With an idempotency key, to do it again is to do it once."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
        return self._send("POST", path, json=json, headers=headers)

    def put(self, path: str, *, json: Any) -> Any:
        """PUT a JSON document."""
        return self._send("PUT", path, json=json)

    def delete(self, path: str, **params: Param) -> Any:
        """DELETE."""
        return self._send("DELETE", path, params=_given(params))

    def upload(self, path: str, files: Mapping[str, bytes]) -> Any:
        """POST files as multipart/form-data."""
        parts = {name: (name, content, "application/octet-stream") for name, content in files.items()}
        return self._send("POST", path, files=parts)

    def _send(self, method: str, path: str, *, raw: bool = False, absent: bool = False, **request: Any) -> Any:
        import httpx

        timeout = httpx.Timeout(READ_TIMEOUT if method == "GET" else CHANGE_TIMEOUT, connect=CONNECT_TIMEOUT)
        try:
            with busy(f"waiting for {self._server}"):
                response = self._client.request(method, path, timeout=timeout, **request)
        except httpx.TimeoutException as error:
            raise PlacetError(f"the control plane at {self._server} did not answer in time") from error
        except httpx.HTTPError as error:
            raise PlacetError(
                f"cannot reach the control plane at {self._server}: {error or type(error).__name__}; "
                "is it running (placet server run), is --server right, and is its CA your own (PLACET_SERVER_CA)?"
            ) from error
        if absent and response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.is_success:
            return response.content if raw else _json(response) if response.content else None
        raise _failure(response, self._server)


def connect(server: str | None, token_file: Path | None) -> ControlPlane:
    """The control plane that the options and the environment name."""
    import httpx

    address, host = safe_address(server or DEFAULT_SERVER)
    client = httpx.Client(
        base_url=address,
        headers={"Authorization": f"Bearer {api_token(token_file)}"},
        follow_redirects=False,
        # A proxy for the outside world is not a way to this machine.
        trust_env=host not in loopback.NAMES,
        verify=os.environ.get("PLACET_SERVER_CA") or True,
    )
    return ControlPlane(client, address)


def safe_address(server: str) -> tuple[str, str]:
    """The address of a control plane to which a token may be sent, and its host. Raises `UsageError`."""
    address = server.rstrip("/")
    parts = urlsplit(address)
    if parts.username is not None or parts.password is not None:
        raise UsageError("--server takes no user and no password: give a token, as PLACET_TOKEN or --token-file")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"--server must be an http or https address, not {address!r}")
    if parts.scheme == "http" and parts.hostname not in loopback.NAMES:
        raise UsageError("--server must be https: over plain http anyone on the way could read the token")
    return address, parts.hostname


def api_token(file: Path | None, hint: str = "(a new server's is admin.token)") -> str:
    """The API token from a file, or from the environment. Raises `UsageError`, with a hint where there is none."""
    if file is not None:
        token = read_secret(file, _MAX_TOKEN, "the token file").decode("utf-8", "replace").strip()
    else:
        token = os.environ.get("PLACET_TOKEN", "").strip()
    if not token:
        raise UsageError(f"no API token: set PLACET_TOKEN, or give --token-file FILE {hint}")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("the API token is malformed; it looks like placet_ID_SECRET")
    return token


def _given(params: Mapping[str, Param]) -> dict[str, str | int | Sequence[str]]:
    return {name: value for name, value in params.items() if value is not None}


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError) as error:
        raise PlacetError(f"{response.url.host} did not answer as a control plane does; is --server right?") from error


def _failure(response: httpx.Response, server: str) -> PlacetError:
    """The error that a problem document (RFC 9457) describes."""
    try:
        problem = response.json()
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        return PlacetError(f"{server} answered {response.status_code}; is it a control plane?")
    detail = str(problem.get("detail") or problem.get("title") or f"status {response.status_code}")
    if (reason := reason_of(problem.get("reason"))) is not None:
        return Denied(reason, detail, step=problem.get("step"), field=problem.get("field"))
    if response.status_code == 401:
        return PlacetError(f"{server} does not know this token, or it was revoked")
    if response.status_code == 422:
        return Refused(detail, problem.get("field"))
    if response.status_code == 404:
        return Missing(detail)
    return PlacetError(detail)
