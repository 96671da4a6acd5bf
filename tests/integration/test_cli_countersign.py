"""`placet bundle countersign`, and policies that ask for two signers, with a real Sigstore."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.files import write_together
from app.core.shipped import shipped

pytestmark = pytest.mark.stack

DEVELOPER, LEAD = "dev@example.org", "lead@example.org"


@pytest.fixture(scope="module")
def placet(opa_binary, sigstore, tmp_path_factory):
    """Runs `placet bundle` on behalf of somebody and gives exit code, standard output and standard error."""
    scratch = tmp_path_factory.mktemp("tokens")

    def run(command, *arguments, who=None):
        options = ["--trust-config", sigstore.trust_config] if command != "build" else []
        if command != "sign":
            options += ["--opa", opa_binary]
        if who:
            token = scratch / who
            token.write_text(sigstore.token(who))
            token.chmod(0o600)
            options += ["--identity-token", token]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLACET_")}
        answer = subprocess.run(
            [sys.executable, "-m", "cli", "bundle", command, *map(str, [*arguments, *options])],
            capture_output=True, timeout=120, stdin=subprocess.DEVNULL, env=inherited, check=False, text=True,
        )  # fmt: skip
        assert "Traceback" not in answer.stderr
        return answer.returncode, answer.stdout, answer.stderr

    return run


@pytest.fixture
def bundle(placet, tmp_path):
    path = tmp_path / "payments.tar.gz"
    assert placet("build", shipped("bundles") / "payments", "-o", path)[0] == 0
    assert placet("sign", path, who=DEVELOPER)[0] == 0
    return path


@pytest.fixture
def policy(sigstore, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(
        "identities:\n"
        f"  - {{identity: {DEVELOPER}, issuer: '{sigstore.issuer_url}'}}\n"
        f"  - {{pattern: '^l[a-z]+@example\\.org$', issuer: '{sigstore.issuer_url}'}}\n"
        "minimum_signers: 2\n"
    )
    return path


def test_two_sign(placet, bundle, policy):
    code, said, _ = placet("verify", bundle, "--policy", policy, "--output", "json")
    assert (code, json.loads(said)["reason"]) == (3, "evidence.signers")
    assert json.loads(said)["field"] == "minimum_signers"

    code, said, _ = placet("countersign", bundle, "--policy", policy, "--output", "json", who=LEAD)
    assert code == 0
    assert json.loads(said)["signers"] == [DEVELOPER, LEAD]

    code, said, _ = placet("verify", bundle, "--policy", policy, "--output", "json")
    assert (code, json.loads(said)["signers"]) == (0, [DEVELOPER, LEAD])


def test_commands_that_add_at_once_lose_nothing(placet, bundle, policy):
    """Two countersign and one attests in three processes; one of the two tries it twice."""
    evidence = bundle.with_name(f"{bundle.name}.attestations.jsonl")
    before = evidence.read_bytes().splitlines()
    tests = shipped("bundles") / "payments"
    calls = [
        lambda: placet("countersign", bundle, "--policy", policy, who=LEAD),
        lambda: placet("countersign", bundle, "--policy", policy, who=LEAD),
        lambda: placet("countersign", bundle, "--policy", policy, who="lena@example.org"),
        lambda: placet("attest", bundle, "--tests", tests, who=DEVELOPER),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        codes = [done[0] for done in pool.map(lambda call: call(), calls)]
    assert (sorted(codes[:2]), codes[2:]) == ([0, 2], [0, 0])
    after = evidence.read_bytes().splitlines()
    assert after[: len(before)] == before
    assert len(after) == len(before) + 3
    said = placet("verify", bundle, "--policy", policy, "--output", "json")[1]
    assert sorted(json.loads(said)["signers"]) == [DEVELOPER, LEAD, "lena@example.org"]


def test_nobody_signs_twice_or_blindly(placet, bundle, policy):
    evidence = bundle.with_name(f"{bundle.name}.attestations.jsonl")
    before = evidence.read_bytes()
    for who in (DEVELOPER,):
        code, _, errors = placet("countersign", bundle, "--policy", policy, who=who)
        assert code == 2
        assert f"{DEVELOPER} has signed payments.tar.gz already" in errors
    content = bundle.read_bytes()
    write_together({bundle: content + b"\0"}, mode=0o644)
    code, _, errors = placet("countersign", bundle, "--policy", policy, who=LEAD)
    assert code == 3
    assert "evidence.subject" in errors
    write_together({bundle: content}, mode=0o644)
    issuer = policy.read_text().split("issuer: '")[1].split("'")[0]
    somebody = ("--certificate-identity", "other@example.org", "--certificate-oidc-issuer", issuer)
    assert placet("countersign", bundle, *somebody, who=LEAD)[0] == 3
    assert placet("countersign", bundle, who=LEAD)[0] == 2
    assert evidence.read_bytes() == before


def test_a_policy_that_is_wrong_is_one_line_with_the_place(placet, bundle, policy):
    policy.write_text(policy.read_text().replace("\\.org", ".org"))
    code, _, errors = placet("verify", bundle, "--policy", policy)
    assert code == 2
    [line] = [one for one in errors.splitlines() if one.startswith("placet: ")]
    assert "policy.yaml: identities.1.pattern: character 17 of the pattern, '.': write \\. for a dot" in line
