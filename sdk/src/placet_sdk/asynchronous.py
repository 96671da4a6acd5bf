"""`AsyncPlacet`, for event loops."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from placet_sdk import governed, tracing
from placet_sdk.address import Address
from placet_sdk.answer import read_response
from placet_sdk.channel import AsyncChannel
from placet_sdk.client import DECISION, TIMEOUT
from placet_sdk.decision import Decision
from placet_sdk.errors import ConfigurationError, Denied, Doubt
from placet_sdk.execution import EDGE_TIMEOUT, EXECUTIONS, AsyncExecution, path_of
from placet_sdk.grants import read_renewal, read_start
from placet_sdk.identity import OWN, AsyncIdentitySource, Own, resolve_async
from placet_sdk.proof import ProofKey
from placet_sdk.question import Action, Grant, Question, Resource
from placet_sdk.question import Execution as AnyExecution
from placet_sdk.strict_json import encode


class Options(TypedDict, total=False):
    """The options of `AsyncPlacet.decide`."""

    identity: AsyncIdentitySource | Own | None
    warrant: Sequence[str]
    proof_key: ProofKey | None
    environment: Sequence[str]
    execution: AnyExecution | None
    proof: str | None
    fulfils: Collection[str] | None
    timeout: float | None


class AsyncPlacet:
    """As `Placet`, for asyncio."""

    def __init__(
        self,
        url: str = "https://127.0.0.1:8181",
        *,
        ca: str | Path | None = None,
        edge: str | None = None,
        identity: AsyncIdentitySource | None = None,
        fulfils: Collection[str] = (),
        timeout: float = TIMEOUT,
        connections: int = 32,
        insecure_loopback: bool = False,
    ) -> None:
        """As `Placet`. Raises ConfigurationError."""
        self._channel = AsyncChannel(Address.parse(url, ca, insecure_loopback), connections)
        self._edge = AsyncChannel(Address.parse(edge, ca, insecure_loopback), connections) if edge else None
        self._identity = identity
        self._fulfils = fulfils
        self._timeout = timeout

    async def close(self) -> None:
        """Close the connections. Every later decision is a denial."""
        await self._channel.close()
        if self._edge is not None:
            await self._edge.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def edge(self) -> AsyncChannel:
        """The way to the sidecar's edge. Raises ConfigurationError where the client was told of none."""
        if self._edge is None:
            raise ConfigurationError("edge= must say where the sidecar's edge API listens")
        return self._edge

    async def decide(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        *,
        identity: AsyncIdentitySource | Own | None = OWN,
        warrant: Sequence[str] = (),
        proof_key: ProofKey | None = None,
        environment: Sequence[str] = (),
        execution: AnyExecution | None = None,
        proof: str | None = None,
        fulfils: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> Decision:
        """The decision about one request; a denial whenever there is none.

        An allow whose obligations are not all of the types in `fulfils` is the denial `obligation.unfulfilled`.
        """
        question = Question(action, resource, context, warrant, proof_key, environment, execution, proof)
        with tracing.span("placet.decide", *question.named()) as tell:
            decision = await self._decide(question, identity, self._timeout if timeout is None else timeout)
            decision = decision.fulfilled_by(self._fulfils if fulfils is None else fulfils)
            tell(decision)
        return decision

    async def require(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Decision:
        """As `decide`, with the same options, but a denial is raised as Denied."""
        decision = await self.decide(action, resource, context, **options)
        if not decision.allow:
            raise Denied(decision)
        return decision

    def governed(self, action: Any, resource: Any, context: Any = None, **more: Any) -> governed.Decorator:
        """Decorate a function: it runs only if its call is allowed, and raises Denied otherwise.

        Each of `action`, `resource`, `context` and the options of `decide` is a value, or a function whose parameters
        are some of the decorated function's, by name. `current_decision` gives the decision inside.
        """
        return governed.decorator(self.require, {"action": action, "resource": resource, "context": context, **more})

    def dependency(
        self, action: Any, resource: Any, context: Any = None, **more: Any
    ) -> Callable[..., Awaitable[Decision]]:
        """A dependency for FastAPI's `Depends`: as `governed`, with parameters taken from the request."""
        return governed.dependency(self.require, {"action": action, "resource": resource, "context": context, **more})

    async def _decide(self, question: Question, identity: AsyncIdentitySource | Own | None, timeout: float) -> Decision:
        if isinstance(question.execution, Grant) and identity is not OWN:
            raise ConfigurationError("inside an execution its token stands for the identity: give none")
        own = None if question.inside else self._identity
        source = own if isinstance(identity, Own) else identity
        try:
            return read_response(
                *await self._channel.post(DECISION, question.body(await resolve_async(source)), timeout)
            )
        except Doubt as doubt:
            return Decision.deny(doubt.code, doubt.message)

    @asynccontextmanager
    async def execution(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        identity: AsyncIdentitySource | Own | None = OWN,
        warrant: Sequence[str] = (),
        proof_key: ProofKey | None = None,
        environment: Sequence[str] = (),
        fulfils: Collection[str] | None = None,
        workflow: str | None = None,
        timeout: float = EDGE_TIMEOUT,
    ) -> AsyncIterator[AsyncExecution]:
        """Start an execution at the sidecar's edge and ask inside it, until it expires or the block ends.

        `id`: to try again after `sidecar.unreachable`; a use of a warrant counts once for each id. `workflow`: the
        declared one that it follows. Raises Denied, also at the end as `Placet.execution` does.
        """
        edge = self.edge
        chosen = uuid.uuid4().hex if id is None else id
        question = Question(action, resource, context, warrant, proof_key, environment, chosen, workflow=workflow)
        with tracing.span("placet.execution", *question.named()) as tell:
            grant, decision = await self._start(edge, question, chosen, identity, timeout)
            decision = decision.fulfilled_by(self._fulfils if fulfils is None else fulfils)
            tell(decision)
        if grant is None or not decision.allow:
            raise Denied(decision)
        run = AsyncExecution(self, grant.id, grant.token, grant.expires_at, decision)
        run.noted = workflow is not None
        try:
            yield run
        except GeneratorExit:  # the block was never left: there is nobody to wait for an answer
            run.forget()
            raise
        except BaseException:
            await run.leave("failed")
            raise
        await run.leave("completed")

    async def renew(self, grant: Grant, timeout: float | None = None) -> Grant:
        """A new grant of an execution, with a token that lasts longer. Raises Denied."""
        edge = self.edge
        path, seconds = path_of(grant.id, "renew"), EDGE_TIMEOUT if timeout is None else timeout
        try:
            body = encode({"token": grant.member()["token"]})
            found = read_renewal(*await edge.post(path, body, seconds), grant.id)
        except Doubt as doubt:
            found = Decision.deny(doubt.code, doubt.message)
        if isinstance(found, Decision):
            raise Denied(found)
        return found

    def resume(self, id: str, token: str, expires_at: datetime) -> AsyncExecution:
        """An execution that another process started, from its `id`, `token` and `expires_at`."""
        return AsyncExecution(self, id, token, expires_at)

    async def _start(
        self,
        edge: AsyncChannel,
        question: Question,
        id: str,
        identity: AsyncIdentitySource | Own | None,
        timeout: float,
    ) -> tuple[Grant | None, Decision]:
        try:
            body = question.body(await resolve_async(self._identity if isinstance(identity, Own) else identity))
            return read_start(*await edge.post(EXECUTIONS, body, timeout), id)
        except Doubt as doubt:
            return None, Decision.deny(doubt.code, doubt.message)
