"""The parts of the demo, started as a person would start them: by the `placet` command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from app.core.shipped import shipped
from app.local.demo.parts import NotSo, Part, Sidecar, answers, eventually, is_opa
from app.local.ports import free_port
from app.local.sigstore import LocalSigstore

SYSTEM, CHANNEL = "payments", "prod"
#: The control plane's own trust domain.
DOMAIN = "example.org"
AUTHOR = "author@example.org"
#: The subject that the example policy lets read, and the audience of its token.
SUBJECT = "spiffe://example.org/api"

#: Seconds: the demo's leases and horizon are short, so that it is soon over.
LEASE_TTL, HORIZON, REFRESH = 3.0, 12, 0.5
#: Variables that must not reach the parts: the demo decides whom they talk to.
_NOT_INHERITED = ("PLACET_SERVER", "PLACET_TOKEN", "PLACET_IDENTITY_TOKEN", "HTTP_PROXY", "HTTPS_PROXY")


@dataclass
class Stack:
    """Everything in one directory. A context manager: leaving it ends all parts."""

    directory: Path
    opa: Path
    say: Callable[[str], None] = lambda text: None
    parts: list[Part] = field(default_factory=list)
    sidecars: list[Sidecar] = field(default_factory=list)
    #: Where the control plane keeps what it holds, as options of `server init`; by default in the directory.
    storage: tuple[str, ...] = ()
    #: What the parts find in their environment besides.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Where the control plane listens.
    server: str = ""
    control: Part | None = None

    def __post_init__(self) -> None:
        self._port = free_port()
        self.server = f"http://127.0.0.1:{self._port}"
        # The control plane, which runs later, vouches to Fulcio for its sidecars.
        self.sigstore = LocalSigstore(self.directory / "sigstore", spiffe_issuers={self.server: DOMAIN})

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for agent in filter(None, [sidecar.agent for sidecar in self.sidecars]):
            agent.ask_to_end()  # all at once: each takes seconds
        for sidecar in self.sidecars:
            self.stop_sidecar(sidecar)
        for part in reversed(self.parts):
            part.stop()
        self.sigstore.stop()

    def _start(self) -> None:
        self.say("local Sigstore: certificate authority, CT log, timestamp authority, Rekor v2")
        self.sigstore.start()
        self.say("control plane")
        self.placet("server", "init", "--domain", DOMAIN, "--dir", str(self.directory / "server"), *self.storage)
        self.start_control_plane()
        self.placet(
            "system", "create", SYSTEM, "--horizon", str(HORIZON),
            "--certificate-identity", AUTHOR, "--certificate-oidc-issuer", self.sigstore.issuer_url,
        )  # fmt: skip
        keys = self.directory / "jwks.json"
        keys.write_text(json.dumps(self.sigstore.jwks()))
        self.placet(
            "issuer", "add", self.sigstore.issuer_url, "--jwks", str(keys), "--names", f"spiffe://{DOMAIN}/",
            "--audience", SYSTEM, "--audience", "agents",
        )  # fmt: skip

    def start_control_plane(self) -> None:
        """Start the control plane and wait until it answers."""
        self.control = self.start(
            "control-plane",
            "server", "run", "--dir", str(self.directory / "server"), "--port", str(self._port),
            "--trust-config", str(self.sigstore.trust_config), "--opa", str(self.opa), "--freshness-interval", "1",
            "--lineage-trust-config", str(self.sigstore.trust_config),
        )  # fmt: skip
        self._await_part(self.control, lambda: answers(f"{self.server}/readyz"))

    def start_sidecar(
        self,
        name: str,
        *options: str,
        server: str | None = None,
        wait: bool = True,
        system: str = SYSTEM,
        policy: Path | None = None,
        identity: Path | None = None,
    ) -> Sidecar:
        """Start a sidecar that follows a system's channel; wait until it holds a lease."""
        sidecar = Sidecar(
            name,
            self.directory / name,
            free_port(),
            server or self.server,
            options,
            system=system,
            edge=free_port(),
            policy=policy,
            identity=identity,
        )
        self.sidecars.append(sidecar)
        if identity is None:
            self.placet("sidecar", "invite", system, name, "-o", str(sidecar.join_token))
        self.start_agent(sidecar, wait=wait)
        return sidecar

    def start_agent(self, sidecar: Sidecar, *, wait: bool = True) -> None:
        """Start the agent of a sidecar, for the first time or again."""
        (sidecar.directory / "status.json").unlink(missing_ok=True)
        sidecar.agent = self.start(
            sidecar.name,
            "sidecar", "run", "--system", sidecar.system, "--channel", CHANNEL, "--name", sidecar.name,
            "--dir", str(sidecar.directory), "--port", str(sidecar.port), "--edge-port", str(sidecar.edge),
            "--server", sidecar.server,
            "--tuf-root", str(self.directory / "server" / "tuf-root.json"),
            *sidecar.credential,
            "--trust-config", str(self.sigstore.trust_config),
            "--lineage-trust-config", str(self.sigstore.trust_config),
            *self._signers(sidecar.policy),
            "--lease-ttl", f"{LEASE_TTL:g}", "--refresh", f"{REFRESH:g}", "--opa", str(self.opa),
            *(sidecar.options or ("--reserve", "16MiB")),
        )  # fmt: skip
        if wait:
            self._await_part(sidecar.agent, lambda: sidecar.status().get("healthy"))

    def _signers(self, policy: Path | None) -> tuple[str, ...]:
        if policy is not None:
            return ("--policy", str(policy))
        return ("--certificate-identity", AUTHOR, "--certificate-oidc-issuer", self.sigstore.issuer_url)

    def stop_sidecar(self, sidecar: Sidecar) -> None:
        """End a sidecar's agent, and the OPA that a killed agent left behind."""
        pid = sidecar.status().get("opa_pid")
        if sidecar.agent is not None:
            sidecar.agent.stop()
        if pid and is_opa(pid, self.opa):
            os.kill(pid, signal.SIGKILL)

    def start(self, name: str, *arguments: str) -> Part:
        """Start `placet` with these arguments in the background."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", *arguments],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=self._environment({}), start_new_session=True,
            )  # fmt: skip
        part = Part(name, process, log)
        self.parts.append(part)
        return part

    def _await_part(self, part: Part, ready: Callable[[], Any]) -> None:
        def check() -> bool:
            if part.process.poll() is not None:
                raise NotSo(f"{part.name} ended: {part.tail()}")
            return bool(ready())

        try:
            eventually(f"{part.name} is ready", check)
        except NotSo as error:
            raise NotSo(f"{error}: {part.tail()}") from error

    # What people do.

    def placet(
        self, *arguments: str, expect: int = 0, environment: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> dict[str, Any]:
        """Run `placet` to its end as the administrator. Returns its JSON; `expect` is the exit code it must give."""
        own = arguments.index("--") if "--" in arguments else len(arguments)
        command = [sys.executable, "-m", "cli", *arguments[:own], "--output", "json", *arguments[own:]]
        answer = subprocess.run(
            command, capture_output=True, timeout=120, env=self._environment(environment or {}), cwd=cwd, check=False
        )
        errors = answer.stderr.decode(errors="replace").strip()
        if answer.returncode != expect:
            raise NotSo(f"placet {' '.join(arguments[:2])}: exit code {answer.returncode}, not {expect}: {errors}")
        try:
            document = json.loads(answer.stdout) if answer.stdout.strip() else {}
        except ValueError as error:
            raise NotSo(f"placet {' '.join(arguments[:2])} printed something else than JSON") from error
        return {**(document if isinstance(document, dict) else {"items": document}), "stderr": errors}

    def identity(self, name: str) -> dict[str, str]:
        """The environment in which `placet` signs as this identity."""
        return {"PLACET_IDENTITY_TOKEN": self.sigstore.token(name)}

    def write_policy(self, name: str, change: Mapping[str, Any] | None = None, example: str = SYSTEM) -> Path:
        """A copy of an example policy; `change` replaces members of its data."""
        directory = self.directory / "policies" / name
        shutil.copytree(shipped("bundles") / example, directory, dirs_exist_ok=True)
        data = directory / example.replace("-", "_") / "data.json"
        data.write_text(json.dumps({**json.loads(data.read_text()), **(change or {})}))
        return directory

    def build(self, name: str, change: Mapping[str, Any] | None = None, example: str = SYSTEM) -> Path:
        """Build a release of an example policy."""
        bundle = self.directory / f"{name}.tar.gz"
        policy = str(self.write_policy(name, change, example))
        self.placet("bundle", "build", policy, "-o", str(bundle), "--opa", str(self.opa))
        return bundle

    def sign(self, bundle: Path, signer: str = AUTHOR) -> Path:
        """Sign a bundle as `signer`."""
        trust = str(self.sigstore.trust_config)
        self.placet("bundle", "sign", str(bundle), "--trust-config", trust, environment=self.identity(signer))
        return bundle

    def publish(self, bundle: Path, *, expect: int = 0, channel: str = CHANNEL, system: str = SYSTEM) -> dict[str, Any]:
        """Publish a bundle on a channel."""
        return self.placet(
            "bundle", "publish", str(bundle), "--system", system, "--channel", channel,
            "--trust-config", str(self.sigstore.trust_config), expect=expect,
            environment=self.identity(AUTHOR),
        )  # fmt: skip

    def point(self, release: str) -> dict[str, Any]:
        """Point the channel at a release that was published before."""
        return self.placet("channel", "point", SYSTEM, CHANNEL, release)

    def set_horizon(self, seconds: int, *sidecars: Sidecar) -> None:
        """Say how long sidecars go on alone, and wait until these know it."""
        self.placet("system", "set", SYSTEM, "--horizon", str(seconds))
        for sidecar in sidecars:
            eventually("it knows", partial(sidecar.reports, "horizon_seconds", seconds))

    def api(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Read from the control plane's API as the administrator."""
        answer = httpx.get(
            f"{self.server}/api/v1{path}", params=parameters, headers=self.authorization(), timeout=30, trust_env=False
        )
        answer.raise_for_status()
        document = answer.json()
        return document if isinstance(document, dict) else {"items": document}

    def authorization(self) -> dict[str, str]:
        """The administrator's header."""
        return {"Authorization": f"Bearer {self.admin_token}"}

    @property
    def admin_token(self) -> str:
        """The first administrator's token."""
        return (self.directory / "server" / "admin.token").read_text().strip()

    def workload_token(self, subject: str = SUBJECT, **claims: Any) -> str:
        """An identity token of a workload, for the demo's audience."""
        return self.sigstore.token(subject, audience=SYSTEM, **claims)

    def request(self, action: str = "read", token: str | None = None, **context: Any) -> dict[str, Any]:
        """A request for a decision by the example policy."""
        return {
            "identity": {"token": token or self.workload_token()},
            "action": {"name": action},
            "resource": {"type": "payment", "id": "p-1"},
            "context": context,
        }

    def decisions_known(self, wanted: Sequence[str] | set[str], since: str | None = None) -> set[str]:
        """Which of these decisions the control plane has; `since`, an RFC 3339 time, bounds how far it looks back."""
        found: set[str] = set()
        cursor: str | None = None
        while True:
            parameters: dict[str, Any] = {"system": SYSTEM, "limit": 200}
            parameters |= {"cursor": cursor} if cursor else {}
            parameters |= {"since": since} if since else {}
            page = self.api("/decisions", **parameters)
            found.update(item["decision_id"] for item in page["items"])
            cursor = page.get("next")
            if not cursor or set(wanted) <= found:
                return found & set(wanted)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name.upper() not in _NOT_INHERITED}
        admin = self.directory / "server" / "admin.token"
        token = {"PLACET_TOKEN": admin.read_text().strip()} if admin.exists() else {}
        return {**inherited, **self.variables, "PLACET_SERVER": self.server, **token, **more}
