"""From end to end with the real Sigstore: both verifiers accept what is left of an erased record, without a server."""

import json
import subprocess
from datetime import UTC, datetime

import pytest

from app.control.erasing_worker import Erasing
from app.core import proof
from app.core.proof_form import Proof
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local import tools
from app.local.tools.pins import TOOLS
from tests.integration.test_verify_go import VerifyGo

from .batch_kit import Chain, sidecar_id
from .test_signed_batches import DEVELOPER, PLACET, Live, signed

pytestmark = [pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def live(tmp_path_factory, opa_binary):
    stand = Live(tmp_path_factory.mktemp("erasing"), opa_binary)
    worker = Erasing(stand.plane, 0.2)
    worker.start()
    yield stand
    worker.stop()
    stand.close()


@pytest.fixture(scope="module")
def verify_go():
    with pytest.MonkeyPatch.context() as patch:
        verifier = VerifyGo("verify-go", "verify-go", "placet.dev/verify-go", "github.com/sigstore/sigstore-go")
        patch.setitem(TOOLS, verifier.name, verifier)
        return tools.install([verifier.name])[verifier.name]


def test_what_is_left_of_an_erased_record_is_proved(live, verify_go, tmp_path):
    client, session = live.sidecar("one")
    chain = Chain()
    made = chain.peek(live.entries(0)).change(closed_at=datetime.now(UTC).replace(microsecond=0))
    chain.follow(made)
    answer = client.post(chain.path, json=signed(made, session))
    assert answer.status_code == 200, answer.text
    neighbour = live.api.get("/api/v1/decisions/2-d/proof").content

    arguments = ("record", "erase", "--decision", "1-d", "--reason", "request 17")
    assert live.run(*arguments)["decisions"] == 1
    assert live.api.get("/api/v1/decisions/1-d").status_code == 200, "that was a dry run"
    live.run("hold", "place", "--system", "payments", "--reason", "case 3")
    assert "hold.active" in live.run(*arguments, "--yes", expect=3)
    live.run("hold", "release", "1", "--reason", "closed")
    order = live.run(*arguments, "--yes")
    assert (order["decisions"], order["batches_done"], order["asked_by"]) == (1, 1, "first administrator")
    assert order["done_at"] is not None
    [entry] = live.run("record", "show", str(order["id"]))["entries"]
    assert (entry["sidecar"], entry["first_entry"], entry["numbers"]) == ("one", 0, [1])
    assert [one["reason"] for one in live.run("record", "list")] == ["request 17"]
    assert "record.erased" in live.run("decision", "show", "1-d", expect=3)
    assert "record.erased" in live.run("decision", "replay", "1-d", expect=3)
    assert "no decision 1-d, or it was erased" in live.run(*arguments, "--yes", expect=1)

    raw = live.api.get("/api/v1/decisions/1-d/proof").content
    left = Proof.read(raw)
    assert (left.record, left.salt, left.release) == (None, None, None)
    sidecar = SignerIdentity(identity=sidecar_id("one"), issuer=live.url)
    developer = SignerIdentity(identity=DEVELOPER, issuer=live.sigstore.issuer_url)
    policies = {
        "sidecars": VerificationPolicy(identities=[sidecar]), "releases": VerificationPolicy(identities=[developer]),
    }  # fmt: skip
    proven = proof.verify(left, **policies, lineage=live.trust, trust=live.trust)
    assert (proven.sequence, proven.decision) == (1, None)
    assert live.api.get("/api/v1/decisions/2-d/proof").content == neighbour
    assert proof.verify(Proof.read(neighbour), **policies, lineage=live.trust, trust=live.trust).sequence == 2

    file = tmp_path / "left.json"
    file.write_bytes(raw)
    who = ["--sidecar-identity", sidecar.identity, "--sidecar-issuer", sidecar.issuer]
    done = subprocess.run(
        [verify_go, "--trusted-root", live.sigstore.trust_config, *who, "--release-identity", DEVELOPER,
         "--release-issuer", live.sigstore.issuer_url, file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["erased"], said["sequence"], said["decision_id"]) == (True, 1, None)


def test_retention_is_set_and_shown(live):
    shown = live.run("retention", "set", "payments", "--records", "90d", "--columns", "365d")
    assert (shown["records_days"], shown["columns_days"], shown["set_by"]) == (90, 365, "first administrator")
    assert live.run("retention", "show", "payments") == shown
    assert live.run("retention", "remove", "payments")["records_days"] is None
    assert "no number of days" in live.run("retention", "set", "payments", "--records", "90", expect=2)
    assert "kept at least as long" in live.run(
        "retention", "set", "payments", "--records", "90d", "--columns", "30d", expect=2
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("record", "erase", "--reason", "r"),
        ("record", "erase", "--reason", "r", "--decision", "d", "--subject", "i", "s"),
        ("hold", "place", "--reason", "r"),
    ],
)
def test_wrong_usage_is_one_line(arguments):
    done = subprocess.run([PLACET, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
