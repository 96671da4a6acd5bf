"""The table of the demo: what a row is, and what rows share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from app.core.reason_codes import Reason
from app.local.demo.agents import Agents
from app.local.demo.load import Answer, Load
from app.local.demo.meddler import Meddler
from app.local.demo.parts import NotSo, Sidecar, eventually
from app.local.demo.stack import Stack


@dataclass
class World:
    """What the rows share."""

    stack: Stack
    #: Reaches the control plane directly.
    first: Sidecar
    #: Reaches it through the meddler.
    second: Sidecar
    meddler: Meddler
    #: The digest of the first published release.
    release: str
    bundle: Path
    _agents: Agents | None = None

    @property
    def agents(self) -> Agents:
        """The agents and their system, started when a row first needs them."""
        if self._agents is None:
            self._agents = Agents.start(self.stack)
        return self._agents

    def close(self) -> None:
        """End what rows started."""
        if self._agents is not None:
            self._agents.stop()

    def ask(self, sidecar: Sidecar, action: str = "read", **context: Any) -> Answer:
        """One decision."""
        caller = sidecar.caller()
        try:
            return caller.ask(self.stack.request(action, **context))
        finally:
            caller.close()

    def allows(self, sidecar: Sidecar) -> bool:
        """Whether the request that the policy allows is allowed now."""
        return self.ask(sidecar).decision.allow


Row = Callable[[World], str]


@dataclass(frozen=True)
class Titled:
    """A row and the promise that it shows."""

    title: str
    show: Row


def row(title: str) -> Callable[[Row], Titled]:
    """Make a function a row of the table."""
    return lambda function: Titled(title, function)


def rows_of(module: ModuleType) -> list[Titled]:
    """The rows that a module defines, from top to bottom."""
    return [found for found in vars(module).values() if isinstance(found, Titled)]


def require(truth: object, otherwise: str) -> None:
    """Raise `NotSo` unless `truth`."""
    if not truth:
        raise NotSo(otherwise)


def denied_with(answer: Answer, *codes: Reason) -> str:
    """Require a denial with all of these codes."""
    require(not answer.decision.allow, "allowed")
    missing = [code for code in codes if str(code) not in answer.codes]
    require(not missing, f"denied with {answer.codes}, not {missing}")
    return ", ".join(answer.codes)


def nothing_missing(world: World, load: Load) -> str:
    """Require that the control plane comes to know every answered decision of a load."""
    answered = load.answered()
    require(answered, "no decision was answered")
    eventually(
        "every answered decision is known", lambda: world.stack.decisions_known(answered, load.since) == answered
    )
    return f"{len(answered):,} answered, 0 missing"


def reports(sidecar: Sidecar, reason: Reason) -> str:
    """The reason, if the sidecar's status gives it; else nothing."""
    return str(reason) if str(reason) in sidecar.codes() else ""


def kill_opa(sidecar: Sidecar) -> None:
    """Kill the OPA of a sidecar, as a crash would."""
    pid = sidecar.status()["opa_pid"]
    os.kill(pid, signal.SIGKILL)
