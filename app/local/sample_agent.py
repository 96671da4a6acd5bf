"""A small autonomous agent: it works through a plan by calling tools, and stops at the first denial.

No model is in it: what an agent wants is its own affair, what it may do is decided at the tools. It holds an identity
of its own, a key, and the warrants that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.local.sample_tools import EXECUTION, PROOF, WARRANT
from placet_sdk.proof import ProofKey, prove


@dataclass(frozen=True)
class Step:
    """One call of a tool."""

    tool: str
    type: str
    id: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a call came to: the tool's result, or the reason codes of the denial."""

    step: Step
    result: str | None
    codes: tuple[str, ...] = ()


@dataclass
class SampleAgent:
    """An agent. `identity` gives its current token."""

    name: str
    identity: Callable[[], str]
    tools: str
    key: ProofKey | None = None
    warrants: Sequence[str] = ()
    #: A started execution, `(id, token)`, which then stands for identity and warrants.
    execution: tuple[str, str] | None = None

    def run(self, plan: Sequence[Step]) -> list[Outcome]:
        """Work through a plan, up to the first denial."""
        outcomes = []
        for step in plan:
            outcome = self.call(step)
            outcomes.append(outcome)
            if outcome.codes:
                break
        return outcomes

    def call(self, step: Step) -> Outcome:
        """Call one tool. Raises httpx.HTTPError when the host does not answer."""
        body = {"type": step.type, "id": step.id, "arguments": step.arguments}
        answer = httpx.post(
            f"{self.tools}/tools/{step.tool}", json=body, headers=self._headers(step), timeout=10, trust_env=False
        )
        if answer.status_code == httpx.codes.FORBIDDEN:
            return Outcome(step, None, tuple(reason["code"] for reason in answer.json()["reasons"]))
        answer.raise_for_status()
        return Outcome(step, answer.json()["result"])

    def _headers(self, step: Step) -> dict[str, str]:
        if self.execution is not None:
            return {EXECUTION: " ".join(self.execution)}
        headers = {"Authorization": f"Bearer {self.identity()}"}
        if self.warrants:
            headers[WARRANT] = ",".join(self.warrants)
        if self.key is not None:
            headers[PROOF] = prove(self.key, {"name": step.tool}, {"type": step.type, "id": step.id})
        return headers
