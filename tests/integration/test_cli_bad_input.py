"""What people do wrong at the command line: one clear line, the right exit code, and nothing half-written."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from app.core.shipped import shipped

pytestmark = pytest.mark.stack

NOBODY = ("--certificate-identity", "a@example.org", "--certificate-oidc-issuer", "https://issuer.example.org")


@pytest.fixture(scope="module")
def placet(opa_binary):
    """Runs `placet` and gives the exit code and the one line on stderr."""

    def run(*arguments, **environment):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLACET_")}
        answer = subprocess.run(
            [sys.executable, "-m", "cli", *map(str, arguments)],
            capture_output=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**inherited, **environment},
            check=False,
        )
        errors = answer.stderr.decode()
        assert "Traceback" not in errors
        assert "internal error" not in errors
        return answer.returncode, errors

    return run


@pytest.fixture
def policy(tmp_path):
    directory = tmp_path / "policy"
    shutil.copytree(shipped("bundles") / "payments", directory)
    return directory


@pytest.fixture
def bundle(placet, policy, opa_binary, tmp_path):
    path = tmp_path / "good.tar.gz"
    code, _ = placet("bundle", "build", policy, "-o", path, "--opa", opa_binary)
    assert code == 0
    return path


def one_line(errors):
    lines = [line for line in errors.splitlines() if line.startswith("placet: ")]
    assert len(lines) == 1, errors
    return lines[0]


def test_missing_files(placet, opa_binary, sigstore, tmp_path):
    nowhere = tmp_path / "nowhere"
    for arguments in (
        ("bundle", "build", nowhere, "-o", tmp_path / "x.tar.gz", "--opa", opa_binary),
        ("bundle", "sign", nowhere, "--trust-config", sigstore.trust_config),
        ("bundle", "verify", nowhere, *NOBODY, "--trust-config", sigstore.trust_config),
        ("bundle", "publish", nowhere, "--system", "s", "--channel", "c"),
    ):
        code, errors = placet(*arguments)
        assert code == 2, errors
        assert str(nowhere) in one_line(errors)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "reason", "detail"),
    [
        (lambda d: shutil.rmtree(d / "payments"), "archive.empty", "no Rego module"),
        (lambda d: (d / ".manifest").unlink(), "manifest.entrypoint", "--entrypoint"),
        (lambda d: (d / ".manifest").write_text('{"roots":["a"],"roots":["b"]}'), "manifest.malformed", "twice"),
        (lambda d: (d / ".manifest").write_text('{"roots":[""]}'), "manifest.roots", "leave roots out"),
        (lambda d: (d / ".manifest").write_text('{"roots":["a","a/b"]}'), "manifest.roots", "overlap"),
        (lambda d: (d / ".manifest").write_text('{"roots":["placet"]}'), "manifest.roots_reserved", "placet"),
        (
            lambda d: (d / "payments/new.rego").write_text("package payments.new\n\nx := ("),
            "rego.compile",
            "new.rego:3",
        ),
        (lambda d: (d / "payments/x.rego").write_text("package other\n"), "rego.outside_roots", "package other"),
        (lambda d: (d / "payments/l.rego").symlink_to("authz.rego"), "archive.link", "l.rego"),
        (lambda d: (d / "._authz.rego").write_text("x"), "archive.stray", "macOS"),
        (lambda d: os.mkfifo(d / "payments/pipe"), "archive.special", "pipe"),
    ],
)
def test_policies_that_cannot_be_built(placet, policy, opa_binary, tmp_path, damage, reason, detail):
    damage(policy)
    out = tmp_path / "x.tar.gz"
    code, errors = placet("bundle", "build", policy, "-o", out, "--opa", opa_binary)
    assert code == 3, errors
    line = one_line(errors)
    assert line.startswith(f"placet: denied: {reason}: ")
    assert detail in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy"]


def test_the_same_input_gives_the_same_bytes(placet, policy, opa_binary, bundle, tmp_path):
    for path in policy.rglob("*"):
        os.utime(path, (1, 1))
    code, _ = placet("bundle", "build", policy, "-o", tmp_path / "again.tar.gz", "--opa", opa_binary, TZ="Asia/Tokyo")
    assert code == 0
    assert (tmp_path / "again.tar.gz").read_bytes() == bundle.read_bytes()


def test_an_unsigned_bundle_is_denied(placet, bundle, opa_binary, sigstore):
    trust = ("--trust-config", sigstore.trust_config, "--opa", opa_binary)
    code, errors = placet("bundle", "verify", bundle, *NOBODY, *trust)
    assert (code, "evidence.missing" in one_line(errors)) == (3, True)


def test_identities_that_cannot_sign(placet, bundle, sigstore, tmp_path):
    trust = ("--trust-config", sigstore.trust_config)
    token = sigstore.token("author@example.org")
    code, errors = placet("bundle", "sign", bundle, *trust, "--identity-token", token)
    assert (code, "--identity-token takes a file" in one_line(errors)) == (2, True)
    assert token not in errors
    expired = sigstore.token("author@example.org", ttl=1)
    time.sleep(1.5)
    for bad in (expired, "junk", token[:-4]):
        code, errors = placet("bundle", "sign", bundle, *trust, PLACET_IDENTITY_TOKEN=bad)
        assert code in {1, 2}, errors
        assert bad not in errors
        one_line(errors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.tar.gz", "good.tar.gz.build.json", "policy"]


def test_nobody_and_everybody_are_no_verification_policies(placet, bundle, sigstore, opa_binary, tmp_path):
    trust = ("--trust-config", sigstore.trust_config, "--opa", opa_binary)
    code, errors = placet("bundle", "verify", bundle, *trust)
    assert (code, "say who may sign" in one_line(errors)) == (2, True)
    empty = tmp_path / "empty.yaml"
    empty.write_text("identities: []\n")
    code, errors = placet("bundle", "verify", bundle, "--policy", empty, *trust)
    assert (code, "evidence.policy_empty" in one_line(errors)) == (3, True)
    twice = tmp_path / "twice.yaml"
    twice.write_text("identities: []\nidentities: [{identity: a, issuer: b}]\n")
    code, errors = placet("bundle", "verify", bundle, "--policy", twice, *trust)
    assert (code, "twice" in one_line(errors)) == (2, True)


def test_a_trust_config_that_is_none(placet, bundle, opa_binary, sigstore, tmp_path):
    raw = sigstore.trust_config.read_text()
    bad = tmp_path / "trust.json"
    for text in ("", "{}", raw[:-20], raw.replace('"mediaType"', '"mediaType": "x", "mediaType"', 1)):
        bad.write_text(text)
        code, errors = placet("bundle", "verify", bundle, *NOBODY, "--trust-config", bad, "--opa", opa_binary)
        assert code == 2, errors
        assert "trust" in one_line(errors)


def test_an_opa_that_is_none(placet, policy, tmp_path):
    for binary, part in ((tmp_path / "missing", "there is no OPA"), (Path("/bin/false"), "opa")):
        code, errors = placet("bundle", "build", policy, "-o", tmp_path / "x.tar.gz", "--opa", binary)
        assert code in {1, 3}, errors
        assert part in one_line(errors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy"]


def test_a_full_disk_leaves_nothing_half_written(placet, policy, opa_binary, tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(mount)], check=True, timeout=30)
    try:
        (mount / "filler").write_bytes(b"\1" * 12288)
        code, errors = placet("bundle", "build", policy, "-o", mount / "x.tar.gz", "--opa", opa_binary)
        assert code == 1, errors
        assert "No space left" in one_line(errors)
        assert [path.name for path in mount.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True, timeout=30)


def test_sidecar_usage(placet, opa_binary, sigstore, tmp_path):
    root, wrong = tmp_path / "root.json", tmp_path / "wrong.json"
    Metadata(Root(unrecognized_fields={"x-placet-domain": "example.org"})).to_file(str(root))
    wrong.write_text('{"keys": []}')
    usual = ["sidecar", "run", "--system", "s", "--channel", "c", "--tuf-root", str(root), "--dir", str(tmp_path / "d")]
    usual += [*NOBODY, "--trust-config", str(sigstore.trust_config), "--opa", str(opa_binary)]
    for extra, part in (
        ((), "no API token"),
        (("--system", "Not A Name"), "lower-case"),
        (("--reserve", "lots"), "256MiB"),
        (("--record-space", "1MiB"), "twice"),
        (("--server", "http://plane.example.org"), "https"),
        (("--tuf-root", str(tmp_path / "nowhere")), "TUF root"),
        (("--tuf-root", str(wrong)), "is not a TUF root"),
        (("--renew", "9"), "half"),
        (("--edge-port", "8181"), "each need their own"),
        (("--evidence", str(tmp_path / "nowhere")), "cannot read the evidence"),
        (("--evidence", str(wrong)), "'type'"),
    ):
        token = {} if not extra else {"PLACET_TOKEN": "placet_a_b"}
        code, errors = placet(*usual, *extra, **token)
        assert code == 2, errors
        assert part in one_line(errors)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = placet(*usual, "--port", port, PLACET_TOKEN="placet_a_b")
        assert code == 1
        assert f"port {port} on 127.0.0.1 is not free" in errors
        code, errors = placet(*usual, "--edge-port", port, PLACET_TOKEN="placet_a_b")
        assert code == 1
        assert (
            f"port {port} on 127.0.0.1 is not free: Address already in use; choose another with --edge-port" in errors
        )


def test_help_is_there_and_unknown_words_are_usage(placet):
    for noun in ("bundle", "sidecar", "server", "sigstore", "tools", "system", "token", "quarantine", "issuer", "demo"):
        code, _ = placet(noun, "--help")
        assert code == 0
    code, _ = placet("bundle", "frobnicate")
    assert code == 2
