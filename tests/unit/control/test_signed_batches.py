"""From end to end with the real Sigstore: the sidecar's identity, its signature, the log, the proof, the commands."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from app.control.app import create_app
from app.control.installation import initialise
from app.control.plane import Plane
from app.control.settings import Settings
from app.core import archive, proof, statements
from app.core.bundle import digest_of
from app.core.proof_form import Proof
from app.core.serving import ThreadedServer
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local.sigstore import LocalSigstore
from cli.server_verifiers import batch_verifier, verifiers

from .batch_kit import DOMAIN, Chain, sidecar_id
from .conftest import record

DEVELOPER = "dev@example.org"
PLACET = str(Path(sys.executable).with_name("placet"))


class Live:
    """A control plane that answers on a port, vouches for its sidecars, and trusts a Sigstore that trusts it."""

    def __init__(self, directory, opa_binary):
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.sigstore = LocalSigstore(directory / "sigstore", spiffe_issuers={self.url: DOMAIN})
        self.sigstore.start()
        made = initialise(directory / "control", directory / "root-key.pem")
        self.token_file = made.admin_token
        self.plane = Plane.open(
            Settings.load(made.directory),
            *verifiers(self.sigstore.trust_config, False, opa_binary),
            verify_batch=batch_verifier(self.sigstore.trust_config),
            identity_issuer=self.url,
        )
        self.server = ThreadedServer(create_app(self.plane, freshness_interval=3600), listener, "control")
        self.server.start()
        self.trust = TrustConfig.from_file(self.sigstore.trust_config)
        self.api = self.client(self.token_file.read_text().strip())
        signer = {"identity": DEVELOPER, "issuer": self.sigstore.issuer_url}
        self.api.post("/api/v1/systems", json={"name": "payments", "identities": [signer]}).raise_for_status()
        self.release = self._publish()

    def client(self, token):
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def _publish(self):
        manifest = {"roots": ["app"], "revision": "r1", "metadata": {"placet": {"entrypoint": "app/allow"}}}
        policy = {".manifest": json.dumps(manifest).encode(), "a.rego": b"package app\n\ndefault allow := true\n"}
        bundle = archive.write_archive(policy)
        times = {"started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z"}
        source = [{"uri": "git+https://code.example/policy", "digest": {"gitCommit": "4f" * 20}}]
        subject = statements.resource("x.tar.gz", digest_of(bundle))
        session = SigningSession(self.trust, self.sigstore.token(DEVELOPER))
        link = statements.link("build", command=["make"], materials=[], products=[subject])
        signature = session.sign(statements.provenance(subject, sources=source, manifest={}, **times))
        files = {"bundle": bundle, "signature": signature, "attestations": session.sign(link)}
        answer = self.api.post("/api/v1/systems/payments/releases", files=files)
        assert answer.status_code == 201, answer.text
        return digest_of(bundle)

    def sidecar(self, name):
        """Its API, and the session with which it signs."""
        body = {"name": name, "scopes": ["record:write"], "system": "payments", "sidecar": name}
        client = self.client(self.api.post("/api/v1/tokens", json=body).json()["token"])
        answer = client.post(f"/api/v1/systems/payments/sidecars/{name}/identity")
        assert answer.status_code == 200, answer.text
        return client, SigningSession(self.trust, answer.json()["token"])

    def entries(self, first, count=3):
        """Records that name the release."""
        named = {"policy": self.release, "library": "sha256:" + "2" * 64}
        state = "sha256:" + "3" * 64
        result = {"allow": True, "reasons": [], "bundles": named, "state": state}
        return b"".join(record(f"{first + number}-d", result=result) for number in range(count))

    def run(self, *arguments, expect=0):
        """A command."""
        done = subprocess.run(
            [PLACET, *map(str, arguments), "--server", self.url, "--token-file", self.token_file, "--output", "json"],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ,
        )
        assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout) if expect == 0 else done.stderr

    def close(self):
        self.server.stop()
        self.plane.close()
        self.sigstore.stop()


@pytest.fixture(scope="module")
def live(tmp_path_factory, opa_binary):
    stand = Live(tmp_path_factory.mktemp("live"), opa_binary)
    yield stand
    stand.close()


def signed(made, session):
    return made.body() | {"evidence": session.sign(made.statement.statement()).decode()}


def refused(answer, status, reason):
    assert (answer.status_code, answer.json().get("reason")) == (status, reason), answer.text


def test_a_batch_is_signed_taken_and_proved_and_what_is_wrong_with_it_is_found(live):
    client, session = live.sidecar("one")
    other_client, other = live.sidecar("two")
    chain = Chain(closed_at=datetime.now(UTC))
    first = chain.next(live.entries(0))
    body = signed(first, session)
    for _ in range(2):
        answer = client.post(chain.path, json=body)
        assert (answer.status_code, answer.json()["entries"]) == (200, 3), answer.text
    again = signed(first, session)  # after a crash: another signature and log entry of the same payload
    assert client.post(chain.path, json=again).json() == answer.json()

    # Anyone with the proof file and the trust config verifies it, without the control plane.
    file = live.api.get("/api/v1/decisions/1-d/proof")
    assert file.status_code == 200, file.text
    sidecar = SignerIdentity(identity=sidecar_id("one"), issuer=live.url)
    developer = SignerIdentity(identity=DEVELOPER, issuer=live.sigstore.issuer_url)
    proven = proof.verify(
        Proof.read(file.content),
        sidecars=VerificationPolicy(identities=[sidecar]),
        releases=VerificationPolicy(identities=[developer]),
        lineage=live.trust,
        trust=live.trust,
    )
    assert (proven.sequence, proven.decision.decision_id, proven.sidecar) == (1, "1-d", sidecar)
    assert (proven.release.digest, proven.release.signer) == (live.release, developer)
    assert [str(one) for one in proven.release.commits] == ["git+https://code.example/policy@" + "4f" * 20]
    assert statements.LINK in proven.release.predicates
    shown = live.api.get("/api/v1/decisions/1-d").json()["signed"]
    assert (shown["log_index"], shown["at"]) == (proven.log.index, proven.not_after.isoformat())

    # Signed by another sidecar, or altered: not this sidecar's, and no break.
    second = chain.next(live.entries(3))
    good = signed(second, session)
    refused(client.post(chain.path, json=signed(second, other)), 422, "batch.invalid")
    refused(client.post(chain.path.replace("one", "two"), json=good), 403, None)  # bound to its own name
    refused(other_client.post(chain.path.replace("one", "two"), json=good), 422, "batch.invalid")
    evidence = json.loads(good["evidence"])
    for path, value in (
        (("dsseEnvelope", "payload"), json.loads(body["evidence"])["dsseEnvelope"]["payload"]),
        (
            ("dsseEnvelope", "signatures", 0, "sig"),
            json.loads(body["evidence"])["dsseEnvelope"]["signatures"][0]["sig"],
        ),
        (("verificationMaterial", "tlogEntries", 0, "logIndex"), "0"),
        (("verificationMaterial", "tlogEntries"), []),
        (("verificationMaterial", "timestampVerificationData", "rfc3161Timestamps"), []),
        (("verificationMaterial", "tlogEntries", 0, "inclusionProof", "treeSize"), "9"),
    ):
        altered = json.loads(json.dumps(evidence))
        place = altered
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        refused(client.post(chain.path, json=good | {"evidence": json.dumps(altered)}), 422, "batch.invalid")
    assert {one["stops"] for one in live.run("lineage", "breaks")} == {False}

    # Signed by the sidecar itself, and wrong: it stands still until somebody clears it by name.
    late = signed(chain.peek(live.entries(6)), session)
    refused(client.post(chain.path, json=late), 409, "batch.gap")
    refused(client.post(chain.path, json=good), 409, "lineage.broken")
    found = live.run("lineage", "breaks", "--system", "payments")[0]
    assert (found["kind"], found["sidecar"], found["stops"]) == ("batch.gap", "one", True)
    assert "there is no break 4711" in live.run("lineage", "clear", "4711", "--reason", "x", expect=1)
    cleared = live.run("lineage", "clear", found["id"], "--reason", "a batch overtook another")
    assert (cleared["cleared_by"], cleared["reason"]) == ("first administrator", "a batch overtook another")
    assert live.run("lineage", "breaks", "--cleared")[0]["id"] == found["id"]
    assert client.post(chain.path, json=good).status_code == 200
    assert client.post(chain.path, json=late).status_code == 200

    # An evicted one ships nothing, with whatever token.
    path = "/api/v1/systems/payments/sidecars/one/eviction"
    answer = live.api.post(path, json={"reason": "its host was stolen"})
    assert answer.status_code in (200, 201), answer.text
    for one in (client, live.api):
        refused(one.post(chain.path, json=good), 403, "sidecar.evicted")
