"""The agents of the demo: a system of their own, a host of tools, two agents under two issuers and trust domains."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import OKPAlgorithm
from starlette.applications import Starlette

from app.core.serving import ThreadedServer
from app.local import sample_tools
from app.local.demo.parts import Sidecar
from app.local.demo.stack import AUTHOR, DOMAIN, HORIZON, Stack
from app.local.sample_agent import SampleAgent
from app.local.sample_tools import Tools
from placet_sdk import Placet

SYSTEM = "agents"
PARTNER_DOMAIN = "partner.example"
PARTNER_ISSUER = "https://idp.partner.example"
RESEARCHER = f"spiffe://{DOMAIN}/agent/researcher"
SUMMARIZER = f"spiffe://{PARTNER_DOMAIN}/agent/summarizer"

#: Who may declare a mode: shadow the first alone, break-glass both together.
PEOPLE = ("lead@example.org", "officer@example.org")

#: What the policy grants to each agent: their warrants allow less.
GRANTS = {
    RESEARCHER: {
        "tools": ["web.fetch", "files.read", "files.write"],
        "hosts": ["docs.example.org"],
        "directories": ["/reports/"],
    },
    SUMMARIZER: {"tools": ["files.read", "files.write"], "hosts": [], "directories": ["/reports/"]},
}


@dataclass
class Agents:
    """Two sidecars of the system, the host of tools beside the first, and who calls it. A context manager."""

    stack: Stack
    first: Sidecar
    second: Sidecar
    tools: Tools
    _placet: Placet
    _server: ThreadedServer
    _address: str
    _partner_key: Ed25519PrivateKey

    @classmethod
    def start(cls, stack: Stack) -> Agents:
        """Set everything up as its operators would."""
        partner_key = Ed25519PrivateKey.generate()
        stack.placet(
            "system", "create", SYSTEM, "--horizon", str(HORIZON),
            "--certificate-identity", AUTHOR, "--certificate-oidc-issuer", stack.sigstore.issuer_url,
            *(part for name in PEOPLE for part in ("--break-glass-signer", f"{name}#{stack.sigstore.issuer_url}")),
            "--shadow-signer", f"{PEOPLE[0]}#{stack.sigstore.issuer_url}",
        )  # fmt: skip
        _trust_partner(stack, partner_key)
        _govern(stack)
        policy = _verification_policy(stack)
        stack.publish(stack.sign(stack.build("agents", {"agents": GRANTS}, "agent-tools")), system=SYSTEM)
        first = stack.start_sidecar("sidecar-c", system=SYSTEM, policy=policy)
        second = stack.start_sidecar("sidecar-d", system=SYSTEM, policy=policy)
        files = stack.directory / "reports"
        files.mkdir(exist_ok=True)
        (files / "q3.txt").write_text("Revenue grew by 4 %.")
        tools = Tools(files)
        placet = Placet(f"https://127.0.0.1:{first.port}", ca=first.ca)
        listener = socket.create_server(("127.0.0.1", 0))
        application: Starlette = sample_tools.create_app(placet, tools, lambda by, call: True)
        server = ThreadedServer(application, listener, "tools")
        server.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        return cls(stack, first, second, tools, placet, server, address, partner_key)

    def stop(self) -> None:
        """End the host of tools; the sidecars end with the stack."""
        self._server.stop()
        self._placet.close()

    def researcher(self, **has: Any) -> SampleAgent:
        """The agent of the home domain."""
        return SampleAgent(RESEARCHER, self.researcher_token, self._address, **has)

    def summarizer(self, **has: Any) -> SampleAgent:
        """The agent of the partner's domain, under the partner's issuer."""
        return SampleAgent(SUMMARIZER, self.summarizer_token, self._address, **has)

    def researcher_token(self) -> str:
        """A current token of the home agent."""
        return self.stack.sigstore.token(RESEARCHER, audience=SYSTEM)

    def summarizer_token(self) -> str:
        """A current token of the partner's agent, which the partner's issuer signs."""
        now = int(time.time())
        claims = {"iss": PARTNER_ISSUER, "sub": SUMMARIZER, "aud": SYSTEM, "iat": now, "exp": now + 600}
        return jwt.encode(claims, self._partner_key, "EdDSA", headers={"kid": "partner-1"})

    def new_key(self, name: str) -> Path:
        """A key for a holder of warrants; its public half lies beside it, as `NAME.pub`."""
        key = Ed25519PrivateKey.generate()
        path = self.stack.directory / f"{name}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        path.with_suffix(".pub").write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        return path

    def warrant(self, name: str, *options: str) -> Path:
        """A warrant for the home agent, as an operator issues it."""
        out = self.stack.directory / f"{name}.warrant"
        subject = f"{self.stack.sigstore.issuer_url}#{RESEARCHER}"
        self.stack.placet("warrant", "issue", "--system", SYSTEM, "--subject", subject, *options, "-o", str(out))
        return out

    def delegate(self, warrant: Path, key: Path, name: str, *options: str, expect: int = 0) -> tuple[Path, str]:
        """Hand a warrant on to the partner's agent, without any server. Returns the chain's file and what was said."""
        out = self.stack.directory / f"{name}.warrant"
        said = self.stack.placet(
            "warrant", "delegate", str(warrant), "--key", str(key), "--to", f"{PARTNER_ISSUER}#{SUMMARIZER}",
            *options, "-o", str(out), expect=expect,
        )  # fmt: skip
        return out, said["stderr"]


def chain(file: Path) -> Sequence[str]:
    """The warrants of a file, root first."""
    return file.read_text().split()


def _trust_partner(stack: Stack, key: Ed25519PrivateKey) -> None:
    """The partner's issuer may name the partner's agents, and nobody else; and its domain is linked."""
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "partner-1", "alg": "EdDSA", "use": "sig"}
    keys = stack.directory / "partner-jwks.json"
    keys.write_text(json.dumps({"keys": [public]}))
    stack.placet("domain", "link", PARTNER_DOMAIN)
    stack.placet(
        "issuer", "add", PARTNER_ISSUER, "--jwks", str(keys), "--audience", SYSTEM,
        "--domain", PARTNER_DOMAIN, "--names", f"spiffe://{PARTNER_DOMAIN}/",
    )  # fmt: skip


def _verification_policy(stack: Stack) -> Path:
    """What the sidecars themselves go by: who may sign, and who may declare a mode."""
    people = [{"identity": name, "issuer": stack.sigstore.issuer_url} for name in PEOPLE]
    document = {
        "identities": [{"identity": AUTHOR, "issuer": stack.sigstore.issuer_url}],
        "shadow": people[:1],
        "break_glass": people,
    }
    file = stack.directory / "agents-verification.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def _govern(stack: Stack) -> None:
    """Warrants are required; the partner's agents are a segment of their own, from which only two flows lead."""
    home = stack.sigstore.issuer_url
    document = {
        "warrant_required": True,
        "segments": [
            {"name": "research", "subjects": [{"issuer": home, "subject": f"spiffe://{DOMAIN}/agent/*"}]},
            {
                "name": "partner",
                "subjects": [{"issuer": PARTNER_ISSUER, "subject": f"spiffe://{PARTNER_DOMAIN}/agent/*"}],
            },
            {"name": "web", "resources": ["url/*"]},
            {"name": "reports", "resources": ["file//reports/*"]},
        ],
        "flows": [
            {"source": "research", "target": "web", "actions": ["web.fetch"]},
            {"source": "research", "target": "reports", "actions": ["files.*"]},
            {"source": "partner", "target": "reports", "actions": ["files.read"]},
        ],
        "exchange": [
            {
                "issuer": home,
                "subject": f"spiffe://{DOMAIN}/agent/*",
                "actions": ["web.fetch"],
                "resources": ["url/https://docs.example.org/*"],
                "max_lifetime_seconds": 300,
            }
        ],
    }
    file = stack.directory / "agents-governance.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    stack.placet("governance", "set", SYSTEM, "--file", str(file))
