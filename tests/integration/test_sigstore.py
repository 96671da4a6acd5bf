"""The local Sigstore with its real servers: what it signs verifies, and nothing of it is left behind."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore._internal.fulcio.client import FulcioClientError
from sigstore.dsse import StatementBuilder, Subject
from sigstore.errors import VerificationError
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from app.core.errors import PlacetError
from app.local import tools
from app.local.sigstore import LocalSigstore, Ports, services, stack

pytestmark = pytest.mark.stack

DEVELOPER = "dev@example.org"
PREDICATE = {"number": 1}


def trust(sigstore):
    return ClientTrustConfig.from_json(sigstore.trust_config.read_text())


def sign(sigstore, token=None, audience="sigstore"):
    statement = (
        StatementBuilder()
        .subjects([Subject(name="bundle.tar.gz", digest={"sha256": "a" * 64})])
        .predicate_type("https://example.org/test")
        .predicate(PREDICATE)
        .build()
    )
    identity = IdentityToken(token or sigstore.token(DEVELOPER), client_id=audience)
    with SigningContext.from_trust_config(trust(sigstore)).signer(identity) as signer:
        return signer.sign_dsse(statement)


def verify(sigstore, bundle, identity=DEVELOPER, issuer=None):
    policy = Identity(identity=identity, issuer=issuer or sigstore.issuer_url)
    _, payload = Verifier(trusted_root=trust(sigstore).trusted_root).verify_dsse(bundle, policy)
    return json.loads(payload)


@pytest.fixture(scope="module")
def bundle(sigstore):
    return sign(sigstore)


def none_listens(ports):
    for port in dataclasses.astuple(ports):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return False
    return True


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# ---- what it is for ----------------------------------------------------------------------------------------


def test_what_it_signs_verifies(sigstore, bundle):
    statement = verify(sigstore, Bundle.from_json(bundle.to_json()))
    assert statement["predicate"] == PREDICATE
    [entry] = json.loads(bundle.to_json())["verificationMaterial"]["tlogEntries"]
    assert entry["kindVersion"]["version"] == "0.0.2"  # Rekor v2
    assert json.loads(bundle.to_json())["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]


def test_another_identity_does_not_verify(sigstore, bundle):
    with pytest.raises(VerificationError, match="SANs do not match"):
        verify(sigstore, bundle, identity="other@example.org")


def test_another_issuer_does_not_verify(sigstore, bundle):
    with pytest.raises(VerificationError, match="OIDCIssuer"):
        verify(sigstore, bundle, issuer="https://issuer.example.org")


def test_an_altered_statement_does_not_verify(sigstore, bundle):
    document = json.loads(bundle.to_json())
    payload = document["dsseEnvelope"]["payload"]
    document["dsseEnvelope"]["payload"] = ("A" if payload[40] != "A" else "B").join((payload[:40], payload[41:]))
    with pytest.raises(VerificationError):
        verify(sigstore, Bundle.from_json(json.dumps(document)))


def test_every_service_answers(sigstore):
    assert set(sigstore.status()) == {"issuer", "ct_log", "fulcio", "tsa", "rekor", "tiles"}
    assert all(sigstore.status().values())


# ---- who gets a certificate --------------------------------------------------------------------------------


def test_a_token_for_another_audience_gets_no_certificate(sigstore):
    with pytest.raises(FulcioClientError):
        sign(sigstore, sigstore.token(DEVELOPER, audience="payments"), audience="payments")


def test_a_token_by_another_key_gets_no_certificate(sigstore):
    genuine = sigstore.token(DEVELOPER)
    claims = jwt.decode(genuine, options={"verify_signature": False})
    header = {"kid": jwt.get_unverified_header(genuine)["kid"]}
    forged = jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers=header)
    with pytest.raises(FulcioClientError):
        sign(sigstore, forged)


# ---- restarts and neighbours -------------------------------------------------------------------------------


def test_a_restart_keeps_keys_and_ports_and_old_signatures(tmp_path):
    directory = tmp_path / "sigstore"
    with LocalSigstore(directory) as first:
        old = sign(first)
        key = first.jwks()
        config = first.trust_config.read_bytes()
    with LocalSigstore(directory) as second:
        assert (second.ports, second.jwks(), second.trust_config.read_bytes()) == (first.ports, key, config)
        assert verify(second, old)["predicate"] == PREDICATE
        new = sign(second)
        assert verify(second, new)["predicate"] == PREDICATE
        assert log_index(new) > log_index(old)


def log_index(bundle):
    [entry] = json.loads(bundle.to_json())["verificationMaterial"]["tlogEntries"]
    return int(entry.get("logIndex", 0))


def test_two_stacks_run_side_by_side_and_do_not_trust_each_other(sigstore, bundle, tmp_path):
    with LocalSigstore(tmp_path / "other") as other:
        assert verify(other, sign(other))["predicate"] == PREDICATE
        with pytest.raises(VerificationError):
            verify(other, bundle, issuer=sigstore.issuer_url)
        with pytest.raises(FulcioClientError):
            sign(sigstore, other.token(DEVELOPER))


def test_nobody_else_can_read_its_directory(sigstore):
    assert sigstore.directory.stat().st_mode & 0o077 == 0
    secret = [*(sigstore.directory / "keys").iterdir(), sigstore.directory / "fulcio" / "settings.json"]
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}


def test_no_secret_stands_in_an_argument_list_and_no_environment_is_handed_on(sigstore):
    password = (sigstore.directory / "keys" / "fulcio-ca.password").read_text()
    servers = [process for process in processes() if str(sigstore.directory) in arguments_of(process)]
    assert len(servers) == 4
    for server in servers:
        assert password not in arguments_of(server)
        assert b"PATH=" not in (server / "environ").read_bytes()


def processes():
    return [path for path in Path("/proc").iterdir() if path.name.isdigit()]


def arguments_of(process):
    try:
        return (process / "cmdline").read_text()
    except OSError:  # it ended meanwhile
        return ""


# ---- what goes wrong ---------------------------------------------------------------------------------------


@pytest.fixture
def binaries():
    return {name: tools.installed(name) for name in services.TOOLS}


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("service", ["issuer", "fulcio", "ct_log", "tsa", "rekor"])
def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path, service):
    ports = Ports.free()
    port = getattr(ports, service)
    message = rf"port {port} .*--{service.replace('_', '-')}-port"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PlacetError, match=message):
        LocalSigstore(tmp_path / "sigstore", ports).start()
    assert none_listens(ports)


def test_a_tool_that_dies_at_start_is_named_with_its_last_words(tmp_path, binaries):
    binaries["rekor"] = script(tmp_path / "rekor", "echo starting; echo no such storage >&2; exit 3")
    dying = LocalSigstore(tmp_path / "sigstore", binaries=binaries)
    with pytest.raises(PlacetError, match=r"^Rekor ended with exit code 3: starting / no such storage \(log: "):
        dying.start()
    assert none_listens(dying.ports)


def test_a_tool_that_does_not_answer_is_named(tmp_path, binaries, monkeypatch):
    monkeypatch.setattr(stack, "START_TIMEOUT", 0.5)
    binaries["tesseract"] = script(tmp_path / "tesseract", "exec sleep 600")
    hanging = LocalSigstore(tmp_path / "sigstore", binaries=binaries)
    with pytest.raises(PlacetError, match=r"^the CT log did not answer within"):
        hanging.start()
    assert none_listens(hanging.ports)


def test_a_tool_that_cannot_be_executed_is_named(tmp_path, binaries):
    binaries["timestamp-server"] = tmp_path / "nothing"
    broken = LocalSigstore(tmp_path / "sigstore", binaries=binaries)
    with pytest.raises(PlacetError, match=r"^the timestamp authority cannot be started: "):
        broken.start()
    assert none_listens(broken.ports)


def test_a_directory_that_cannot_be_made_is_named():
    with pytest.raises(PlacetError, match=r"^/proc/sigstore cannot be used: .*--dir"):
        LocalSigstore(Path("/proc/sigstore")).start()


def test_a_tool_that_dies_later_is_noticed(tmp_path):
    with LocalSigstore(tmp_path / "sigstore") as running:
        running.check()
        running._servers["fulcio"].kill()
        running._servers["fulcio"].wait()
        with pytest.raises(PlacetError, match="Fulcio ended with exit code -9"):
            running.check()


def test_a_second_one_in_the_same_directory_is_refused(sigstore):
    with pytest.raises(PlacetError, match="runs already"):
        LocalSigstore(sigstore.directory).start()
    assert all(sigstore.status().values())


def test_starts_again_after_a_failed_start(tmp_path, binaries):
    failing = {**binaries, "fulcio": script(tmp_path / "fulcio", "exit 1")}
    with pytest.raises(PlacetError, match="Fulcio ended"):
        LocalSigstore(tmp_path / "sigstore", binaries=failing).start()
    with LocalSigstore(tmp_path / "sigstore", binaries=binaries) as working:
        assert all(working.status().values())


# ---- the command -------------------------------------------------------------------------------------------


def command(*arguments):
    return [sys.executable, "-c", "from cli.main import main; main()", "sigstore", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60)


@pytest.fixture
def up(tmp_path):
    """`placet sigstore up` on free ports, begun as a shell begins a job in the background: without SIGINT.

    The process and what it printed.
    """
    ports = dataclasses.asdict(Ports.free())
    options = ["--output", "json"]
    options += [word for name, port in ports.items() for word in (f"--{name.replace('_', '-')}-port", port)]
    with subprocess.Popen(
        ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command("up", "--dir", tmp_path / "sigstore", *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        printed = ""
        while not printed.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            printed += line
        yield process, json.loads(printed), Ports(**ports)
        process.kill()


def test_a_token_goes_to_a_file_that_others_cannot_read(sigstore, tmp_path):
    file = tmp_path / "id.jwt"
    done = run("token", "--dir", sigstore.directory, "--identity", DEVELOPER, "-o", file, "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"identity": DEVELOPER, "issuer": sigstore.issuer_url, "audience": "sigstore"}
    assert file.stat().st_mode & 0o777 == 0o600
    assert jwt.decode(file.read_text().strip(), options={"verify_signature": False})["email"] == DEVELOPER
    nowhere = run("token", "--dir", sigstore.directory, "--identity", DEVELOPER, "-o", tmp_path / "no" / "id.jwt")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr.startswith("placet: cannot write ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_stops_everything_when_told_to(up, number):
    process, _, ports = up
    process.send_signal(number)
    _, messages = process.communicate(timeout=15)
    assert process.returncode == 0
    assert "for development only" in messages
    assert messages.endswith("stopped\n")
    assert none_listens(ports)


def test_nothing_outlives_a_killed_up(up):
    process, _, ports = up
    process.kill()
    process.wait()
    wait_for(lambda: none_listens(ports))


def test_up_ends_when_a_service_dies(up, tmp_path):
    process, _, ports = up
    [rekor] = [path for path in processes() if f"--http-port={ports.rekor}" in arguments_of(path)]
    os.kill(int(rekor.name), signal.SIGKILL)
    _, messages = process.communicate(timeout=15)
    assert process.returncode == 1
    assert "placet: Rekor ended with exit code -9" in messages
    assert none_listens(ports)


def test_up_status_and_token_belong_together(up, tmp_path):
    _, document, ports = up
    directory = tmp_path / "sigstore"
    assert document["trust_config"] == str(directory / "trust-config.json")

    status = run("status", "--dir", directory, "--output", "json")
    assert status.returncode == 0
    assert {row["state"] for row in json.loads(status.stdout)} == {"answers"}

    token = run("token", "--dir", directory, "--identity", DEVELOPER)
    assert token.returncode == 0
    assert "for development only" in token.stderr
    running = LocalSigstore(directory)
    assert running.ports == ports
    signed = sign(running, token.stdout.strip())
    assert verify(running, signed)["predicate"] == PREDICATE


def test_status_of_a_stopped_stack_fails(tmp_path):
    with LocalSigstore(tmp_path / "sigstore"):
        pass
    status = run("status", "--dir", tmp_path / "sigstore", "--output", "json")
    assert status.returncode == 1
    assert {row["state"] for row in json.loads(status.stdout)} == {"down"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["token", "--identity", "dev@example.org"], 1, "run: placet sigstore up"),
        (["status"], 1, "run: placet sigstore up"),
        (["up", "--rekor-port", "7561"], 2, "two services cannot share port 7561"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, arguments, code, message):
    done = run(*arguments, "--dir", tmp_path / "none")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("placet: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()
