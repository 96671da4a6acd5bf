"""A test stand: one OPA with the composed bundle, closed and recording as a sidecar's, but without an agent.

The benchmark and the tests of the governance library run on it; it writes the lease itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.core.archive import read_archive
from app.core.bundle import Bundle, Manifest
from app.core.compose import Library, compose
from app.core.shipped import shipped
from bench.issuer import (
    AUDIENCE,
    CONTROL_PLANE,
    DOMAIN,
    ISSUER,
    NOBODY,
    SIDECAR,
    SYSTEM,
    Issuer,
    _base64url,
    digest,
    execution_claims,
    request,
    trust_state,
)

__all__ = [
    "AGENT_TOKEN", "AUDIENCE", "CONTROL_PLANE", "DECISION", "DOMAIN", "GOVERNED", "ISSUER", "NOBODY", "SIDECAR",
    "SYSTEM", "Issuer", "Server", "_base64url", "archive", "composed", "digest", "example", "execution_claims",
    "process_cpu_seconds", "request", "running", "trust_state",
]  # fmt: skip

AGENT_TOKEN = secrets.token_urlsafe(32)
DECISION = "/v1/data/placet/decision"


#: The part of a sidecar's configuration that the library relies on.
GOVERNED: dict[str, Any] = {
    "nd_builtin_cache": True,
    "caching": {"inter_query_builtin_value_cache": {"named": {"io_jwt": {"max_num_entries": 10000}}}},
    "decision_logs": {"console": True, "mask_decision": "/placet_log/mask", "drop_decision": "/placet_log/drop"},
}


def archive(files: Mapping[str, str]) -> bytes:
    """An OPA bundle of `files`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def composed(policy: Mapping[str, str], entrypoint: str, roots: Sequence[str]) -> dict[str, str]:
    """The files of the bundle that the agent composes of a policy, by the very code that it runs."""
    files = {name: text.encode() for name, text in policy.items()}
    modules = {name: text for name, text in files.items() if name.endswith(".rego")}
    data = {name: text for name, text in files.items() if name not in modules}
    bundle = Bundle(digest(json.dumps(dict(policy)).encode()), Manifest(tuple(roots), entrypoint, ""), modules, data)
    raw = compose(bundle, Library.shipped()).raw
    return {name: text.decode() for name, text in read_archive(raw).items()}


def example(name: str) -> tuple[dict[str, str], str, list[str]]:
    """An example policy of `bundles/`: its files, entrypoint and roots."""
    directory = shipped("bundles") / name
    manifest = json.loads((directory / ".manifest").read_text())
    files = {
        str(path.relative_to(directory)): path.read_text()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != ".manifest" and not path.name.endswith("_test.rego")
    }
    return files, manifest["metadata"]["placet"]["entrypoint"], manifest["roots"]


@dataclass
class Server:
    """A running OPA."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    stderr: Path
    agent: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {AGENT_TOKEN}"})

    def write(self, state: Any) -> None:
        """Write trust state as the agent does."""
        self.client.put("/v1/data/placet_state", json=state, headers=self.agent).raise_for_status()

    def decide(self, asked: Any) -> dict[str, Any]:
        """The decision about `asked`. Raises httpx.HTTPStatusError."""
        result: dict[str, Any] = self.client.post(DECISION, json={"input": asked}).raise_for_status().json()["result"]
        return result

    def start(self, asked: Any) -> dict[str, Any]:
        """What the start of an execution gives, as the agent asks for it. Raises httpx.HTTPStatusError."""
        answer = self.client.post("/v1/data/placet/start", json={"input": asked}, headers=self.agent)
        started: dict[str, Any] = answer.raise_for_status().json()["result"]
        return started

    def cpu_seconds(self) -> float:
        """CPU time that OPA has used so far (Linux; 0 elsewhere)."""
        return process_cpu_seconds(self.process.pid)

    def records(self) -> list[dict[str, Any]]:
        """Every line that OPA wrote, as a record; a line that is not one fails."""
        records = [json.loads(line) for line in self.stderr.read_bytes().split(b"\n") if line]
        strangers = [line for line in records if line["msg"] != "Decision Log" and line["level"] != "warning"]
        if strangers:
            raise AssertionError(f"not a record: {strangers[0]}")
        return [record for record in records if record["msg"] == "Decision Log"]


def process_cpu_seconds(pid: int) -> float:
    """CPU time, user and system, that a process has used so far (Linux; 0 elsewhere)."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(
    binary: Path,
    files: Mapping[str, str] | None,
    directory: Path,
    *,
    address: str | None = None,
    tls: tuple[Path, Path] | None = None,
    closed: bool = True,
    governed: bool = True,
    config: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
    base_url: str = "http://opa",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run OPA on `files` in `directory`: on a unix socket, or at `address` (such as `https://127.0.0.1:1234`)."""
    directory.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "server": {"decoding": {"max_length": 65536, "gzip": {"max_length": 65536}}},
        "status": {"prometheus": True},
        **(GOVERNED if governed else {}),
        **(config or {}),
    }
    if files is not None:
        (directory / "bundle.tar.gz").write_bytes(archive(files))
        settings["bundles"] = {"placet": {"resource": f"file://{directory}/bundle.tar.gz"}}
    (directory / "config.json").write_text(json.dumps(settings))
    socket = directory / "opa.sock"
    command = [
        str(binary), "run", "--server", "--config-file", str(directory / "config.json"),
        "--addr", address or f"unix://{socket}", "--unix-socket-perm", "700",
        "--log-level", "error", "--ready-timeout", "60", "--skip-version-check", "--shutdown-grace-period", "1",
        *(["--optimize-store-for-read-speed"] if governed else []),
        *options,
    ]  # fmt: skip
    if tls:
        command += ["--tls-cert-file", str(tls[0]), "--tls-private-key-file", str(tls[1])]
    if closed:
        command += ["--authentication=token", "--authorization=basic", str(authorization(directory))]
    stderr = directory / "stderr"
    with stderr.open("ab") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=dict(environment or {"GOGC": "400"}))
    transport = httpx.HTTPTransport(uds=str(socket)) if address is None else httpx.HTTPTransport(verify=False)
    try:
        with httpx.Client(transport=transport, base_url=base_url, timeout=30, trust_env=False) as client:
            server = Server(process, client, stderr)
            _wait(server)
            yield server
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def authorization(directory: Path) -> Path:
    """The shipped authorization template, filled as the agent fills it."""
    template = (shipped("rego") / "authz" / "authz.rego").read_text()
    hashed = hashlib.sha256(AGENT_TOKEN.encode()).hexdigest()
    path = directory / "authz.rego"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(template.replace("AGENT_TOKEN_SHA256", hashed))
    return path


def _wait(server: Server, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if server.client.get("/health", headers=server.agent).status_code == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"OPA did not get ready: {server.stderr.read_text()[-2000:]}")
