"""The processes of the demo, and waiting for what they should come to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.core.errors import PlacetError
from app.local.demo.load import Caller

#: Seconds that any one thing may take to come true.
PATIENCE = 60.0


class NotSo(PlacetError):
    """Something did not come true."""


def eventually(what: str, check: Callable[[], Any], *, within: float = PATIENCE) -> Any:
    """Wait until `check` gives something true, and return it. Raises `NotSo`."""
    deadline = time.monotonic() + within
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise NotSo(f"{what}: not within {within:g} s")
        time.sleep(0.05)


@dataclass
class Part:
    """A process of the demo, with its own log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The last lines of its log, as one."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End the process as a crash would."""
        self.process.kill()
        self.process.wait()

    def ask_to_end(self) -> None:
        """Ask the process to end, as an operator would, and wait for nothing."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()

    def stop(self) -> None:
        """End the process as an operator would."""
        if self.process.poll() is None:
            self.ask_to_end()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Sidecar:
    """One sidecar: its agent, its directory, and how to reach its OPA."""

    name: str
    directory: Path
    port: int
    server: str
    options: tuple[str, ...] = ()
    agent: Part | None = None
    system: str = "payments"
    #: Where its agent starts executions and answers AuthZEN.
    edge: int = 0
    #: Its verification policy, in place of the demo's one signer.
    policy: Path | None = None
    #: Its workload's own identity token, in place of an invitation.
    identity: Path | None = None

    @property
    def join_token(self) -> Path:
        """What it exchanges at its first start for a token of its own."""
        return self.directory.with_name(f"{self.name}.join")

    @property
    def credential(self) -> tuple[str, str]:
        """How its agent says who it is."""
        if self.identity is not None:
            return "--identity-token", str(self.identity)
        return "--join-token", str(self.join_token)

    @property
    def ca(self) -> Path:
        """The CA by which services know this sidecar's OPA."""
        return self.directory / "ca.pem"

    def caller(self) -> Caller:
        """A client of its OPA."""
        return Caller(self.port, self.ca)

    def status(self) -> dict[str, Any]:
        """The status that the agent wrote last; empty before the first."""
        path = self.directory / "status.json"
        return dict(json.loads(path.read_bytes())) if path.exists() else {}

    def reports(self, member: str, value: Any) -> bool:
        """Whether that status says this."""
        return bool(self.status().get(member) == value)

    def codes(self) -> list[str]:
        """The reason codes in that status."""
        return [reason["code"] for reason in self.status().get("reasons", [])]


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def is_opa(pid: int, binary: Path) -> bool:
    """Whether a process runs this binary."""
    try:
        return Path(f"/proc/{pid}/exe").resolve() == binary.resolve()
    except OSError:
        return False
