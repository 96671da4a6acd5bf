"""Executions: started once at the sidecar's edge, where warrants are redeemed; then one flat token stands for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from placet_sdk import steps
from placet_sdk.decision import Decision
from placet_sdk.errors import Denied, Doubt
from placet_sdk.question import Action, Grant, Resource
from placet_sdk.steps import Artifacts, AsyncStep, Noted, Outcome, Step

if TYPE_CHECKING:
    from placet_sdk.asynchronous import AsyncPlacet
    from placet_sdk.client import Placet

EXECUTIONS = "/v1/executions"
#: Seconds to wait for the start of an execution, which may go through the control plane, and for a step on disk.
EDGE_TIMEOUT = 16.0
#: Seconds to wait for an end that nobody asked for.
_END_TIMEOUT = 5.0


class _Run(Grant):
    """What both clients' executions have: whether there is an end to tell, and whether it matters."""

    #: Whether its end was told to the sidecar.
    ended = False
    #: Whether somebody will read its lineage: a step was noted, or a workflow declared.
    noted = False

    def ending(self, outcome: Outcome) -> bytes:
        """The request that ends it. The token is not used again for anything else. Raises Doubt."""
        self.forget()
        if self.expired:
            raise self.over()
        return steps.body(self.token, outcome=outcome)


class Execution(_Run):
    """Asks inside a started execution. Once it is over, every decision is the denial `execution.expired`."""

    def __init__(
        self, client: Placet, id: str, token: str, expires_at: datetime, decision: Decision | None = None
    ) -> None:
        """`decision` is the one that started it; None where another process did."""
        super().__init__(id, token, expires_at)
        self.decision = decision
        self._client = client

    def decide(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        *,
        environment: Sequence[str] = (),
        fulfils: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> Decision:
        """As `Placet.decide`."""
        return self._client.decide(
            action, resource, context, environment=environment, execution=self, fulfils=fulfils, timeout=timeout
        )

    def require(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        *,
        environment: Sequence[str] = (),
        fulfils: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> Decision:
        """As `Placet.require`."""
        return self._client.require(
            action, resource, context, environment=environment, execution=self, fulfils=fulfils, timeout=timeout
        )

    def renew(self, timeout: float | None = None) -> None:
        """Get a new token from the sidecar's edge, before this one expires. Raises Denied; the old token stays."""
        self.renewed(self._client.renew(self, timeout))

    def step(
        self,
        name: str,
        *,
        command: Sequence[str] = (),
        materials: Artifacts | None = None,
        products: Artifacts | None = None,
        decisions: Sequence[str | Decision] = (),
        parents: Sequence[str] = (),
        facts: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout: float = EDGE_TIMEOUT,
    ) -> Step:
        """Note a step: what went in, what came out, which decisions allowed it. It is on disk when this returns.

        `parents`: digests of other executions' steps. `facts`: whatever else is to be kept, in words. `key`: your own
        name for this very step, by default a new one; the same step with the same key is noted once, however often it
        is sent. Raises Denied: `workflow.violated` stops the execution. After `sidecar.unreachable` it may have been
        noted or not, although it was sent twice.
        """
        deadline, path = time.monotonic() + timeout, path_of(self.id, "steps")
        try:
            member = steps.step_member(
                name, command, steps.digests(materials), steps.digests(products), decisions, parents, facts, key
            )
            sent = steps.body(self.member()["token"], step=member)
            self.noted = True
            try:
                answer = self._client.edge.post(path, sent, timeout)
            except Doubt as doubt:
                answer = self._client.edge.post(path, sent, steps.once_more(doubt, deadline))
            noted = steps.read_step(*answer, self.id, name)
        except Doubt as doubt:
            raise _denied(doubt) from doubt
        return Step(**vars(noted), run=self)

    def look(self, step: Noted, timeout: float) -> str | None:
        """The digest of a step of it; None until it has one. Raises Denied."""
        try:
            path = path_of(self.id, f"steps/{step.number}")
            return steps.read_digest(*self._client.edge.get(path, self.token, timeout), step)
        except Doubt as doubt:
            raise _denied(doubt) from doubt

    def end(self, outcome: Outcome = "completed", timeout: float = EDGE_TIMEOUT) -> None:
        """End it: the sidecar notes the outcome, and denies whatever is asked inside it from now on.

        Raises Denied when the sidecar did not take it. This object asks nothing more either way.
        """
        edge = self._client.edge
        try:
            steps.read_end(*edge.post(path_of(self.id, "end"), self.ending(outcome), timeout))
        except Doubt as doubt:
            raise _denied(doubt) from doubt
        self.ended = True

    def leave(self, outcome: Outcome) -> None:
        """End it if nobody did, as the block ends: loudly only where something was completed that is now in doubt."""
        if self.ended:
            return
        try:
            self.end(outcome, _END_TIMEOUT)
        except Denied:
            if self.noted and outcome == "completed":
                raise


class AsyncExecution(_Run):
    """As `Execution`."""

    def __init__(
        self, client: AsyncPlacet, id: str, token: str, expires_at: datetime, decision: Decision | None = None
    ) -> None:
        super().__init__(id, token, expires_at)
        self.decision = decision
        self._client = client

    async def decide(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        *,
        environment: Sequence[str] = (),
        fulfils: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> Decision:
        """As `Placet.decide`."""
        return await self._client.decide(
            action, resource, context, environment=environment, execution=self, fulfils=fulfils, timeout=timeout
        )

    async def require(
        self,
        action: Action,
        resource: Resource,
        context: Mapping[str, Any] | None = None,
        *,
        environment: Sequence[str] = (),
        fulfils: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> Decision:
        """As `Placet.require`."""
        return await self._client.require(
            action, resource, context, environment=environment, execution=self, fulfils=fulfils, timeout=timeout
        )

    async def renew(self, timeout: float | None = None) -> None:
        """As `Execution.renew`."""
        self.renewed(await self._client.renew(self, timeout))

    async def step(
        self,
        name: str,
        *,
        command: Sequence[str] = (),
        materials: Artifacts | None = None,
        products: Artifacts | None = None,
        decisions: Sequence[str | Decision] = (),
        parents: Sequence[str] = (),
        facts: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout: float = EDGE_TIMEOUT,
    ) -> AsyncStep:
        """As `Execution.step`. Files are read in a thread."""
        deadline, path = time.monotonic() + timeout, path_of(self.id, "steps")
        try:
            used, made = [await asyncio.to_thread(steps.digests, one) for one in (materials, products)]
            member = steps.step_member(name, command, used, made, decisions, parents, facts, key)
            sent = steps.body(self.member()["token"], step=member)
            self.noted = True
            try:
                answer = await self._client.edge.post(path, sent, timeout)
            except Doubt as doubt:
                answer = await self._client.edge.post(path, sent, steps.once_more(doubt, deadline))
            noted = steps.read_step(*answer, self.id, name)
        except Doubt as doubt:
            raise _denied(doubt) from doubt
        return AsyncStep(**vars(noted), run=self)

    async def look(self, step: Noted, timeout: float) -> str | None:
        """As `Execution.look`."""
        try:
            path = path_of(self.id, f"steps/{step.number}")
            return steps.read_digest(*await self._client.edge.get(path, self.token, timeout), step)
        except Doubt as doubt:
            raise _denied(doubt) from doubt

    async def end(self, outcome: Outcome = "completed", timeout: float = EDGE_TIMEOUT) -> None:
        """As `Execution.end`."""
        edge = self._client.edge
        try:
            steps.read_end(*await edge.post(path_of(self.id, "end"), self.ending(outcome), timeout))
        except Doubt as doubt:
            raise _denied(doubt) from doubt
        self.ended = True

    async def leave(self, outcome: Outcome) -> None:
        """As `Execution.leave`."""
        if self.ended:
            return
        try:
            await self.end(outcome, _END_TIMEOUT)
        except Denied:
            if self.noted and outcome == "completed":
                raise


def path_of(id: str, below: str) -> str:
    """Of an execution at the sidecar's edge."""
    return f"{EXECUTIONS}/{quote(id, safe='')}/{below}"


def _denied(doubt: Doubt) -> Denied:
    return Denied(Decision.deny(doubt.code, doubt.message))
