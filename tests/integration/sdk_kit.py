"""A real OPA as services meet it: TLS from a sidecar's CA or a unix socket, a policy that can do everything wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.verification_policy import VerificationPolicy
from app.local.ports import free_port
from app.local.tools import installed
from app.sidecar.authzen_decisions import Decisions
from app.sidecar.config import SidecarConfig, SidecarFiles
from app.sidecar.control_plane import NotAccepted
from app.sidecar.edge import Edge
from app.sidecar.ended_executions import EndedExecutions
from app.sidecar.execution_journal import ExecutionJournal
from app.sidecar.execution_keys import ExecutionKeys
from app.sidecar.executions import Executions
from app.sidecar.journal import Journal
from app.sidecar.journal_file import JournalFile
from app.sidecar.opa_api import Answer
from app.sidecar.pki import SidecarCA
from app.sidecar.running import Running as RunningExecutions
from app.sidecar.steps import Steps
from bench import stand

#: Reads are allowed; `break` conflicts, `flood` answers with 2 MB, `mask` obliges, and everything else is denied.
POLICY = {
    "tests/authz.rego": """package tests.authz

decision := {"allow": true} if input.action.name == "read"

decision := {"allow": input.context.left} if input.action.name == "break"

decision := {"allow": input.context.right} if input.action.name == "break"

decision := {"allow": true, "obligations": [{"type": "mask", "fields": ["iban"]}]} if input.action.name == "mask"

decision := {"allow": true, "reasons": [{"code": "noted", "message": "seen"}]} if input.action.name == "note"

decision := {"allow": true, "obligations": [{"type": "flood", "text": text}]} if {
	input.action.name == "flood"
	text := concat("", ["0123456789" | some _ in numbers.range(1, 200000)])
}

decision := {"allow": false} if not input.action.name in {"read", "break", "mask", "note", "flood"}
"""
}
SUBJECT = "spiffe://example.org/api"


@dataclass
class Sidecar:
    """A running OPA, who vouches for callers and warrants, and how to reach it."""

    server: stand.Server
    issuer: stand.Issuer
    control_plane: stand.Issuer
    keys: ExecutionKeys
    url: str
    ca: Path
    edge: str = ""
    redeemed: list[str] | None = None

    def trust(self, **changes: Any) -> dict[str, Any]:
        """Trust state that knows everybody."""
        execution = {"issuer": stand.SIDECAR, "keys": self.keys.public(), "headers": self.keys.headers()}
        return stand.trust_state(self.issuer, control_plane=self.control_plane, execution=execution, **changes)

    def token(self, **changes: Any) -> str:
        """The caller's."""
        return self.issuer.token(**changes)

    def warrant(self, **changes: Any) -> str:
        """For the caller, to read any payment of at most 100."""
        return self.control_plane.warrant(SUBJECT, **({"actions": ["read"]} | changes))

    @property
    def options(self) -> dict[str, Any]:
        """For a client."""
        return {"url": self.url, "ca": self.ca, "identity": self.token}


@contextlib.contextmanager
def running(directory: Path, *, unix: bool = False, port: int | None = None, **options: Any) -> Iterator[Sidecar]:
    """Run OPA in `directory` on a loopback port with TLS, or on a unix socket."""
    directory.mkdir(parents=True, exist_ok=True)
    ca = directory / "ca.pem"
    authority = SidecarCA.open(directory / "ca.key", ca)
    leaf = directory / "opa.pem", directory / "opa.key"
    authority.server_leaf(*leaf)
    keys = ExecutionKeys(directory / "execution.keys")
    keys.open()
    port = port or free_port()
    url = f"unix://{directory}/opa.sock" if unix else f"https://127.0.0.1:{port}"
    listener = {} if unix else {"address": url, "tls": leaf, "base_url": url}
    files = options.pop("files", stand.composed(POLICY, "tests/authz/decision", ["tests"]))
    with stand.running(installed("opa"), files, directory, **listener, **options) as server:
        control_plane = stand.Issuer(stand.CONTROL_PLANE, "w1")
        sidecar = Sidecar(server, stand.Issuer(), control_plane, keys, url, ca)
        server.write(sidecar.trust())
        keys.written(keys.public())
        yield sidecar


class _Opa:
    """OPA for the edge."""

    def __init__(self, server: stand.Server) -> None:
        self._server = server

    def ask(self, path: str, request: Any) -> Answer:
        """As the agent asks."""
        answer = self._server.client.post(f"/v1/data/{path}", json={"input": request}, headers=self._server.agent)
        return Answer(answer.status_code, answer.content)


@contextlib.contextmanager
def edge(sidecar: Sidecar, directory: Path) -> Iterator[None]:
    """The agent's edge before that OPA, and a journal that nobody signs; uses of warrants are counted here."""
    files = SidecarFiles(directory)
    files.prepare()
    spent: dict[str, set[str]] = {}

    def redeem(execution: str, subject: Any, warrants: Any) -> None:
        for warrant in warrants:
            executions = spent.setdefault(warrant["jti"], set())
            if execution not in executions and len(executions) >= warrant["uses"]:
                raise NotAccepted("spent", "warrant.spent")
            executions.add(execution)

    config = SidecarConfig(
        "payments", "prod", "one", "http://127.0.0.1:1", VerificationPolicy(identities=[]), files,
        edge_port=free_port(),
    )  # fmt: skip
    trust = sidecar.trust()["trust"]
    opa = _Opa(sidecar.server)
    journal = Journal(JournalFile(directory / "journal.db", directory / "instance"), "0f" * 16)
    journal.open()
    ended = EndedExecutions(lambda: 100_000)
    noted = ExecutionJournal(journal, lambda: None, ended, lambda: None)
    running = RunningExecutions(files.running, ended, lambda: None, noted)
    running.open()
    executions = Executions(sidecar.keys, lambda: opa, lambda: trust, redeem, running, noted)
    ca = SidecarCA.open(sidecar.ca.parent / "ca.key", sidecar.ca)
    served = Edge(config, ca, executions, Decisions(lambda: opa), lambda: True, Steps(executions, noted))
    served.start()
    sidecar.edge = f"https://127.0.0.1:{config.edge_port}"
    try:
        yield
    finally:
        served.stop()
        journal.close()
