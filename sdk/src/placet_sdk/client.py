"""`Placet`, the blocking client of a sidecar."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from placet_sdk import governed, tracing
from placet_sdk.address import Address
from placet_sdk.answer import read_response
from placet_sdk.channel import Channel
from placet_sdk.decision import Decision
from placet_sdk.errors import ConfigurationError, Denied, Doubt
from placet_sdk.execution import EDGE_TIMEOUT, EXECUTIONS, Execution, path_of
from placet_sdk.grants import read_renewal, read_start
from placet_sdk.identity import OWN, IdentitySource, Own, resolve
from placet_sdk.proof import ProofKey
from placet_sdk.question import Action, Grant, Question, Resource
from placet_sdk.question import Execution as AnyExecution
from placet_sdk.strict_json import encode

DECISION = "/v1/data/placet/decision"
#: Seconds to wait for a decision. A late answer is a denial.
TIMEOUT = 2.0


class Options(TypedDict, total=False):
    """The options of `Placet.decide`."""

    identity: IdentitySource | Own | None
    warrant: Sequence[str]
    proof_key: ProofKey | None
    environment: Sequence[str]
    execution: AnyExecution | None
    proof: str | None
    fulfils: Collection[str] | None
    timeout: float | None


class Placet:
    """Asks one sidecar. Threads may share it; keep one for the life of the process, since it keeps its connections.

    Whatever is not a whole, well-formed allow is a denial with a reason code of docs/reasons.md.
    """

    def __init__(
        self,
        url: str = "https://127.0.0.1:8181",
        *,
        ca: str | Path | None = None,
        edge: str | None = None,
        identity: IdentitySource | None = None,
        fulfils: Collection[str] = (),
        timeout: float = TIMEOUT,
        connections: int = 32,
        insecure_loopback: bool = False,
    ) -> None:
        """A client of the OPA at `url`: `https://HOST:PORT` with `ca`, or `unix:///PATH`.

        `ca`: the sidecar's ca.pem, the only authority that is believed. `edge`: where the agent starts executions, in
        the same forms. `identity`: whose requests these are, unless a call says otherwise. `fulfils`: the types of
        obligations that the calling code fulfils. `timeout` in seconds. `connections` at once at most.

        Raises ConfigurationError.
        """
        self._channel = Channel(Address.parse(url, ca, insecure_loopback), connections)
        self._edge = Channel(Address.parse(edge, ca, insecure_loopback), connections) if edge else None
        self._identity = identity
        self._fulfils = fulfils
        self._timeout = timeout

    def close(self) -> None:
        """Close the connections. Every later decision is a denial."""
        self._channel.close()
        if self._edge is not None:
            self._edge.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def edge(self) -> Channel:
        """The way to the sidecar's edge. Raises ConfigurationError where the client was told of none."""
        if self._edge is None:
            raise ConfigurationError("edge= must say where the sidecar's edge API listens")
        return self._edge

    def decide(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        *,
        identity: IdentitySource | Own | None = OWN,
        warrant: Sequence[str] = (),
        proof_key: ProofKey | None = None,
        environment: Sequence[str] = (),
        execution: AnyExecution | None = None,
        proof: str | None = None,
        fulfils: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> Decision:
        """The decision about one request; a denial whenever there is none.

        An allow whose obligations are not all of the types in `fulfils` is the denial `obligation.unfulfilled`. A
        service that hands on what its callers present gives their `proof`, and `(id, token)` as `execution`.
        """
        question = Question(action, resource, context, warrant, proof_key, environment, execution, proof)
        with tracing.span("placet.decide", *question.named()) as tell:
            decision = self._decide(question, identity, self._timeout if timeout is None else timeout)
            decision = decision.fulfilled_by(self._fulfils if fulfils is None else fulfils)
            tell(decision)
        return decision

    def require(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Decision:
        """As `decide`, with the same options, but a denial is raised as Denied."""
        decision = self.decide(action, resource, context, **options)
        if not decision.allow:
            raise Denied(decision)
        return decision

    def governed(self, action: Any, resource: Any, context: Any = None, **more: Any) -> governed.Decorator:
        """Decorate a function: it runs only if its call is allowed, and raises Denied otherwise.

        Each of `action`, `resource`, `context` and the options of `decide` is a value, or a function whose parameters
        are some of the decorated function's, by name. `current_decision` gives the decision inside.
        """
        return governed.decorator(self.require, {"action": action, "resource": resource, "context": context, **more})

    def dependency(self, action: Any, resource: Any, context: Any = None, **more: Any) -> Callable[..., Decision]:
        """A dependency for FastAPI's `Depends`: as `governed`, with parameters taken from the request."""
        return governed.dependency(self.require, {"action": action, "resource": resource, "context": context, **more})

    def _decide(self, question: Question, identity: IdentitySource | Own | None, timeout: float) -> Decision:
        if isinstance(question.execution, Grant) and identity is not OWN:
            raise ConfigurationError("inside an execution its token stands for the identity: give none")
        own = None if question.inside else self._identity
        source = own if isinstance(identity, Own) else identity
        try:
            return read_response(*self._channel.post(DECISION, question.body(resolve(source)), timeout))
        except Doubt as doubt:
            return Decision.deny(doubt.code, doubt.message)

    @contextmanager
    def execution(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        identity: IdentitySource | Own | None = OWN,
        warrant: Sequence[str] = (),
        proof_key: ProofKey | None = None,
        environment: Sequence[str] = (),
        fulfils: Collection[str] | None = None,
        workflow: str | None = None,
        timeout: float = EDGE_TIMEOUT,
    ) -> Iterator[Execution]:
        """Start an execution at the sidecar's edge and ask inside it, until it expires or the block ends.

        `id`: 16 to 64 letters, digits, `-` and `_`; to try again after `sidecar.unreachable`, use the same one: a use
        of a warrant counts once for each id. `workflow`: the declared one that it follows. Raises Denied; when the
        block ends well also where steps were noted in it and the sidecar did not take the end.
        """
        edge = self.edge
        chosen = uuid.uuid4().hex if id is None else id
        question = Question(action, resource, context, warrant, proof_key, environment, chosen, workflow=workflow)
        with tracing.span("placet.execution", *question.named()) as tell:
            grant, decision = self._start(edge, question, chosen, identity, timeout)
            decision = decision.fulfilled_by(self._fulfils if fulfils is None else fulfils)
            tell(decision)
        if grant is None or not decision.allow:
            raise Denied(decision)
        run = Execution(self, grant.id, grant.token, grant.expires_at, decision)
        run.noted = workflow is not None
        try:
            yield run
        except GeneratorExit:  # the block was never left: there is nobody to wait for an answer
            run.forget()
            raise
        except BaseException:
            run.leave("failed")
            raise
        run.leave("completed")

    def renew(self, grant: Grant, timeout: float | None = None) -> Grant:
        """A new grant of an execution, with a token that lasts longer. Raises Denied."""
        edge = self.edge
        path, seconds = path_of(grant.id, "renew"), EDGE_TIMEOUT if timeout is None else timeout
        try:
            body = encode({"token": grant.member()["token"]})
            found = read_renewal(*edge.post(path, body, seconds), grant.id)
        except Doubt as doubt:
            found = Decision.deny(doubt.code, doubt.message)
        if isinstance(found, Decision):
            raise Denied(found)
        return found

    def resume(self, id: str, token: str, expires_at: datetime) -> Execution:
        """An execution that another process started, from its `id`, `token` and `expires_at`."""
        return Execution(self, id, token, expires_at)

    def _start(
        self, edge: Channel, question: Question, id: str, identity: IdentitySource | Own | None, timeout: float
    ) -> tuple[Grant | None, Decision]:
        try:
            body = question.body(resolve(self._identity if isinstance(identity, Own) else identity))
            return read_start(*edge.post(EXECUTIONS, body, timeout), id)
        except Doubt as doubt:
            return None, Decision.deny(doubt.code, doubt.message)
