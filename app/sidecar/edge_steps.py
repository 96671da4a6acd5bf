"""The edge's routes for steps and ends of executions."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.core.reason_codes import Reason
from app.sidecar.edge_requests import Handler, Refused, Workers, bearer, read_object
from app.sidecar.executions import NotAdmitted
from app.sidecar.steps import Steps


class StepRoutes:
    """Answers with what is in the journal, or a denial in the form of a renewal's."""

    def __init__(self, steps: Steps, workers: Workers, guarded: Callable[[Handler], Handler]) -> None:
        """`guarded`: makes a refusal or denial of whatever goes wrong."""
        self._steps = steps
        self._workers = workers
        self._guarded = guarded

    def routes(self) -> list[Route]:
        """The routes, below those of executions."""
        below = "/v1/executions/{execution}"
        return [
            Route(f"{below}/steps", self._guarded(_denying(self._step)), methods=["POST"]),
            Route(f"{below}/steps/{{number}}", self._guarded(_denying(self._find)), methods=["GET"]),
            Route(f"{below}/end", self._guarded(_denying(self._end)), methods=["POST"]),
        ]

    async def _step(self, request: Request) -> Response:
        body, execution = await read_object(request), request.path_params["execution"]
        noted = await self._workers.run(lambda: self._steps.step(execution, body))
        return JSONResponse({"step": noted.describe(execution)})

    async def _find(self, request: Request) -> Response:
        execution, number = request.path_params["execution"], request.path_params["number"]
        token = bearer(request)
        if token is None:
            raise Refused(401, "authenticate with the execution's token: Authorization: Bearer TOKEN")
        noted = await self._workers.run(lambda: self._steps.find(execution, number, token))
        if noted is None:
            raise Refused(404, "the execution has no step of this number", Reason.REQUEST_MALFORMED)
        return JSONResponse({"step": {**noted.describe(execution), "digest": noted.digest}})

    async def _end(self, request: Request) -> Response:
        body, execution = await read_object(request), request.path_params["execution"]
        outcome = await self._workers.run(lambda: self._steps.end(execution, body))
        return JSONResponse({"execution": {"id": execution, "outcome": outcome}})


def _denying(handler: Handler) -> Handler:
    async def denying(request: Request) -> Response:
        try:
            return await handler(request)
        except NotAdmitted as refusal:
            return JSONResponse({"decision": refusal.outcome.decision}, 403)

    return denying
