"""`placet execution` against a real sidecar: uses are counted once, and the token stands for the chain."""

import json
import ssl

import httpx
import pytest

from app.core import holder_keys
from app.local.demo.stack import SUBJECT, SYSTEM, Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def world(tmp_path_factory, opa_binary):
    with Stack(tmp_path_factory.mktemp("stack"), opa_binary) as stack:
        stack.publish(stack.sign(stack.build("payments")))
        stack.sidecar = stack.start_sidecar("one")
        (stack.directory / "id.jwt").write_text(stack.workload_token())
        (stack.directory / "id.jwt").chmod(0o600)
        yield stack


def issue(world, name, *more):
    """A warrant for the example's reader, in a file."""
    file = world.directory / f"{name}.warrant"
    world.placet(
        "warrant", "issue", "--system", SYSTEM, "--subject", f"{world.sigstore.issuer_url}#{SUBJECT}",
        "--action", "read", "--resource", "payment/*", *map(str, more), "-o", str(file),
        environment=server(world),
    )  # fmt: skip
    return file


def server(world):
    return {"PLACET_SERVER": world.server, "PLACET_TOKEN": world.admin_token}


def edge(world):
    return ["--edge", f"https://127.0.0.1:{world.sidecar.edge}", "--ca", str(world.sidecar.ca)]


def start(world, *more, where=None, expect=0, action="read"):
    options = ["--action", action, "--resource", "payment/p-1", "--identity-token", str(world.directory / "id.jwt")]
    return world.placet(
        "execution", "start", *options, *map(str, more), *(where or edge(world)), expect=expect
    )  # fmt: skip


def decide(world, execution, **changes):
    """A decision inside an execution, as a service asks for it."""
    request = {"action": {"name": "read"}, "resource": {"type": "payment", "id": "p-1"}, "execution": execution}
    context = ssl.create_default_context(cafile=str(world.sidecar.ca))
    url = f"https://127.0.0.1:{world.sidecar.port}/v1/data/placet/decision"
    answer = httpx.post(url, json={"input": request | changes}, verify=context, trust_env=False, timeout=10)
    return answer.raise_for_status().json()["result"]


def test_a_warrant_of_one_use_starts_one_execution(world):
    warrant, token = issue(world, "once", "--uses", "1"), world.directory / "once.token"
    first = "first-0123456789abcdef"
    started = start(world, "--warrant", warrant, "--id", first, "-o", token)
    assert started["execution"]["id"] == first
    assert "token" not in started["execution"]
    assert token.stat().st_mode & 0o777 == 0o600

    execution = {"id": first, "token": token.read_text().strip()}
    assert decide(world, execution)["allow"] is True
    beyond = decide(world, execution, action={"name": "refund"})
    assert (beyond["allow"], beyond["reasons"][0]["code"]) == (False, "execution.scope")

    # The same execution again counts once; another one finds nothing left.
    start(world, "--warrant", warrant, "--id", first)
    spent = start(world, "--warrant", warrant, "--id", "second-0123456789abcdef", expect=3)
    assert "warrant.spent" in spent["stderr"]
    assert spent["decision"]["allow"] is False


def test_an_execution_is_renewed_in_place(world):
    token = world.directory / "renewed.token"
    started = start(world, "-o", token)["execution"]
    before = token.read_text()
    renewed = world.placet("execution", "renew", started["id"], "--token", str(token), "-o", str(token), *edge(world))[
        "execution"
    ]
    assert renewed["id"] == started["id"]
    assert token.read_text() != before
    assert decide(world, {"id": started["id"], "token": token.read_text().strip()})["allow"] is True
    junk = world.directory / "junk.token"
    junk.write_text("a.b.c")
    refused = world.placet("execution", "renew", started["id"], "--token", str(junk), *edge(world), expect=3)
    assert "execution." in refused["stderr"]


def test_the_holder_proves_that_it_has_the_key(world):
    key, encrypted = holder_keys.generate("ES256"), world.directory / "holder.pem"
    public = world.directory / "holder.jwk"
    encrypted.write_bytes(holder_keys.store_private(key, b"a phrase"))
    public.write_text(json.dumps(key.jwk))
    warrant = issue(world, "bound", "--holder-key", public, "--uses", "1")
    missing = start(world, "--warrant", warrant, expect=3)
    assert "warrant.proof_missing" in missing["stderr"]
    passphrase = world.directory / "passphrase"
    passphrase.write_text("a phrase")
    # What was denied spent nothing.
    start(world, "--warrant", warrant, "--key", encrypted, "--passphrase-file", passphrase)


def test_the_socket_does_as_well(world):
    started = start(world, where=["--socket", str(world.sidecar.directory / "run" / "edge.sock")])
    assert decide(world, {"id": started["execution"]["id"], "token": started["execution"]["token"]})["allow"] is True


def test_what_is_not_allowed_does_not_start(world):
    denied = start(world, action="refund", expect=3)
    assert "policy.denied" in denied["stderr"]
    assert denied["execution"] is None


def test_only_the_sidecars_own_ca_is_trusted(world):
    ours = str(world.directory / "server" / "tuf-root.json")
    where = edge(world)[:2]
    assert "cannot read the CA" in start(world, where=[*where, "--ca", ours], expect=2)["stderr"]
    other = world.directory / "other-ca.pem"
    other.write_bytes(_another_ca())
    assert "cannot reach" in start(world, where=[*where, "--ca", str(other)], expect=1)["stderr"]
    assert "without TLS" in start(world, where=["--edge", "http://127.0.0.1:1", "--ca", ours], expect=2)["stderr"]


def _another_ca():
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import NameOID

    key = holder_keys.generate().private
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Placet sidecar")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(key, None).public_bytes(serialization.Encoding.PEM)
