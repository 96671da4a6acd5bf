"""The edge before a real OPA, without agent and control plane: what the tests of its two APIs share."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.core.verification_policy import VerificationPolicy
from app.local.ports import free_port
from app.local.tools import installed
from app.sidecar import running as executions_that_run
from app.sidecar.authzen_decisions import Decisions
from app.sidecar.config import SidecarConfig, SidecarFiles
from app.sidecar.edge import Edge
from app.sidecar.ended_executions import EndedExecutions
from app.sidecar.execution_keys import ExecutionKeys
from app.sidecar.executions import Executions
from app.sidecar.opa_api import OpaApi
from app.sidecar.pki import SidecarCA
from bench import stand


@dataclass
class Running:
    """OPA, the edge before it, and a client of each."""

    server: stand.Server
    http: httpx.Client
    issuer: stand.Issuer

    def trust(self, **changes: Any) -> None:
        """Write trust state in which the issuer vouches for anybody."""
        state = stand.trust_state(self.issuer)
        state["trust"]["issuers"][self.issuer.name]["names"] = ""
        state["trust"] |= changes
        self.server.write(state)

    def evaluate(self, body: Any, token: str | None, path: str = "evaluation", **headers: str) -> httpx.Response:
        """An AuthZEN request."""
        authorization = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return self.http.post(f"/access/v1/{path}", json=body, headers={**authorization, **headers})


@contextlib.contextmanager
def running(directory: Path, policy: Mapping[str, str], entrypoint: str, roots: list[str]) -> Iterator[Running]:
    """Run both in `directory`."""
    files = SidecarFiles(Path(tempfile.mkdtemp(prefix="placet-edge-")))  # a unix socket's path is short
    files.prepare()
    config = SidecarConfig(
        "payments", "prod", "one", "http://127.0.0.1:1", VerificationPolicy(identities=[]), files,
        edge_port=free_port(),
    )  # fmt: skip
    ca = SidecarCA.open(files.private / "ca.key", files.ca)
    composed = stand.composed(policy, entrypoint, roots)
    with stand.running(installed("opa"), composed, directory) as server, contextlib.ExitStack() as stack:
        api = OpaApi(directory / "opa.sock", stand.AGENT_TOKEN, timeout=10)
        stack.callback(api.close)
        keys = ExecutionKeys(files.execution_keys)
        held = executions_that_run.Running(files.running, EndedExecutions(lambda: 0), keys.renew)
        executions = Executions(keys, lambda: api, lambda: None, lambda *_: None, held)
        edge = Edge(config, ca, executions, Decisions(lambda: api), lambda: True)
        edge.start()
        stack.callback(edge.stop)
        context = ssl.create_default_context(cafile=str(files.ca))
        base = f"https://127.0.0.1:{config.edge_port}"
        http = stack.enter_context(httpx.Client(base_url=base, verify=context, timeout=30, trust_env=False))
        found = Running(server, http, stand.Issuer())
        found.trust()
        yield found
