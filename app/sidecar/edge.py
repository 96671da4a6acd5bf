"""The agent's own API for services: it starts executions, and answers AuthZEN. Off unless a port is given.

HTTPS on loopback with a certificate of the sidecar's CA, and a unix socket in a directory of mode 0700. Decisions
do not need it: services ask OPA.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from app.core.errors import PlacetError
from app.core.reason_codes import Reason
from app.core.serving import ThreadedServer, Tls
from app.sidecar import authzen
from app.sidecar.answers import refused
from app.sidecar.authzen_decisions import Decisions, Failed, Unauthenticated
from app.sidecar.config import SidecarConfig
from app.sidecar.edge_requests import MAX_TOKEN, Handler, Refused, Workers, bearer, read_object
from app.sidecar.edge_steps import StepRoutes
from app.sidecar.executions import BadRequest, Executions, Outcome
from app.sidecar.pki import SidecarCA
from app.sidecar.steps import Steps

log = logging.getLogger("placet.sidecar")

#: Connections at once, on each of the two sockets.
_CONNECTIONS = 256


class Edge:
    """Serves the API from threads of its own."""

    def __init__(
        self,
        config: SidecarConfig,
        ca: SidecarCA,
        executions: Executions,
        decisions: Decisions,
        holds_lease: Callable[[], bool],
        steps: Steps | None = None,
    ) -> None:
        """`holds_lease`: whether OPA holds a lease now. `steps`: None: this sidecar notes none."""
        self._config = config
        self._ca = ca
        self._executions = executions
        self._decisions = decisions
        self._holds_lease = holds_lease
        self._workers = Workers()
        self._steps = StepRoutes(steps or Steps(executions, None), self._workers, _guarded)
        self._base = f"https://127.0.0.1:{config.edge_port}"
        self._servers: list[ThreadedServer] = []

    def start(self) -> None:
        """Begin to answer. Raises `PlacetError` when the port or the socket cannot be had."""
        files, port = self._config.files, self._config.edge_port
        assert port is not None, "the edge has a port"
        certificate, key = files.run / "edge.pem", files.run / "edge.key"
        self._ca.server_leaf(certificate, key)
        for listener, name, tls in (
            (_listen(port), "edge", Tls(certificate, key)),
            (_listen_locally(files.edge_socket), "edge-socket", None),
        ):
            server = ThreadedServer(self._application(), listener, name, tls=tls, max_connections=_CONNECTIONS)
            self._servers.append(server)
        for server in self._servers:
            server.start()

    def stop(self) -> None:
        """Stop answering and free port and socket."""
        for server in self._servers:
            server.stop()

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/executions", _guarded(self._start), methods=["POST"]),
                Route("/v1/executions/{execution}/renew", _guarded(self._renew), methods=["POST"]),
                *self._steps.routes(),
                Route("/access/v1/evaluation", _in_authzen(self._evaluate), methods=["POST"]),
                Route("/access/v1/evaluations", _in_authzen(self._evaluate_all), methods=["POST"]),
                Route("/.well-known/authzen-configuration", self._configuration, methods=["GET"]),
                Route("/healthz", self._health, methods=["GET"]),
            ]
        )

    async def _start(self, request: Request) -> Response:
        body = await read_object(request)
        workflow = body.get("workflow")
        if not {"input"} <= set(body) <= {"input", "workflow"} or not isinstance(body["input"], dict):
            raise Refused(400, "send {input: {...}}, as for a decision, and workflow or nothing else")
        if workflow is not None and not isinstance(workflow, str):
            raise Refused(400, "workflow is the name of one, or absent")
        return _answer(await self._workers.run(lambda: self._executions.start(body["input"], workflow)))

    async def _renew(self, request: Request) -> Response:
        body = await read_object(request)
        token = body.get("token")
        if set(body) != {"token"} or not isinstance(token, str) or len(token) > MAX_TOKEN:
            raise Refused(400, "send {token}: the execution's token, and nothing else")
        execution = request.path_params["execution"]
        return _answer(await self._workers.run(lambda: self._executions.renew(execution, token)))

    async def _evaluate(self, request: Request) -> Response:
        token = _bearer(request)
        evaluation = authzen.read_evaluation(await read_object(request))
        return JSONResponse(await self._workers.run(lambda: self._decisions.answer(evaluation, token)))

    async def _evaluate_all(self, request: Request) -> Response:
        token = _bearer(request)
        body = await read_object(request)
        batch = authzen.read_evaluations(body)
        if batch is None:
            evaluation = authzen.read_evaluation(body)
            return JSONResponse(await self._workers.run(lambda: self._decisions.answer(evaluation, token)))
        answers = await self._workers.run(lambda: self._decisions.answers(batch, token))
        return JSONResponse({"evaluations": answers})

    async def _configuration(self, request: Request) -> Response:
        # The address that was asked, where it is this server's: clients compare it with the document.
        names = {self._base, self._base.replace("127.0.0.1", "localhost")}
        asked = f"https://{request.headers.get('host', '')}"
        document = authzen.configuration(asked if asked in names else self._base)
        return _identified(request, JSONResponse(document, headers={"Cache-Control": "max-age=3600"}))

    async def _health(self, _: Request) -> Response:
        healthy = self._holds_lease()
        return JSONResponse({"lease": healthy}, 200 if healthy else 503)


def _answer(outcome: Outcome) -> Response:
    told = {"execution": outcome.execution, "decision": outcome.decision, "decision_id": outcome.decision_id}
    document = {name: value for name, value in told.items() if value is not None}
    return JSONResponse(document, 200 if outcome.execution else 403)


def _guarded(handler: Handler) -> Handler:
    """Whatever goes wrong is a refusal or a denial."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refusal:
            return refusal.problem()
        except BadRequest as error:
            return Refused(400, str(error)).problem()
        except TimeoutError:
            return Refused(503, "there was no answer in time", Reason.SIDECAR_UNREACHABLE).problem()
        except Exception:
            log.exception("a request to the edge failed")
            return JSONResponse({"decision": refused(Reason.AGENT_FAILED)}, 403)

    return guarded


def _in_authzen(handler: Handler) -> Handler:
    """The same, in AuthZEN's way: an error is a status and a line of text, which begins with the reason code."""

    async def guarded(request: Request) -> Response:
        try:
            answer = await handler(request)
        except Unauthenticated as error:
            headers = {"WWW-Authenticate": 'Bearer realm="placet", error="invalid_token"'}
            answer = PlainTextResponse(str(error), 401, headers)
        except authzen.Malformed as error:
            answer = PlainTextResponse(error.said, 400)
        except Refused as refusal:
            answer = PlainTextResponse(f"{refusal.reason}: {refusal.detail}", refusal.status, refusal.headers())
        except Failed as error:
            answer = PlainTextResponse(str(error), 500)
        except TimeoutError:
            answer = PlainTextResponse(f"{Reason.SIDECAR_UNREACHABLE}: there was no answer in time", 503)
        except Exception:
            log.exception("an evaluation failed")
            answer = PlainTextResponse(f"{Reason.AGENT_FAILED}: the sidecar failed", 500)
        return _identified(request, answer)

    return guarded


def _identified(request: Request, answer: Response) -> Response:
    """The answer with the request's identifier (section "Request Identification")."""
    for name, value in request.scope["headers"]:
        if name == b"x-request-id":
            answer.raw_headers.append((name, value))
            break
    return answer


def _bearer(request: Request) -> str:
    token = bearer(request)
    if token is None:
        raise Unauthenticated("authenticate with your own workload token: Authorization: Bearer TOKEN")
    return token


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise PlacetError(f"port {port} on 127.0.0.1 is not free: {why}; choose another with --edge-port") from error


def _listen_locally(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PlacetError(f"cannot listen on {path}: {error}; a unix socket's path has 107 bytes at most") from error
    return listener
