"""Releases that others verify and sign, by the commands of cosign and sigstore-python in docs/verification.md."""

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.core import statements, strict_json
from app.core.bundle import digest_of
from app.core.shipped import shipped
from app.local import tools

from .control_kit import PLACET, REPOSITORY

# From cold, cosign takes ten minutes to build; in one group, one worker waits for it.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

SIGNER, OTHER = "release@example.org", "other@example.org"
BUNDLE = "payments.tar.gz"
SIGNATURE, ATTESTATIONS = f"{BUNDLE}.sigstore.json", f"{BUNDLE}.attestations.jsonl"

#: Each kind of statement that Placet signs about a release: its file, what it is about, and its predicate type.
KINDS = {
    "the signature": (SIGNATURE, BUNDLE, statements.PROVENANCE),
    "the link of the step build": ("build.json", BUNDLE, statements.LINK),
    "the link of the step sign": ("sign.json", BUNDLE, statements.LINK),
    "the link of another step": ("test.link.sigstore.json", "report.txt", statements.LINK),
    "the test result": ("test-result.json", BUNDLE, statements.TEST_RESULT),
}


class Release:
    """A directory with a release that `placet` built, signed and attested, and the commands that people run in it."""

    def __init__(self, directory, sigstore, opa):
        self.directory, self.sigstore, self.opa = directory, sigstore, opa
        self.cosign_binary = tools.install(["cosign"])["cosign"]
        shutil.copytree(shipped("bundles") / "payments", directory / "policy")
        trust = json.loads(sigstore.trust_config.read_text())
        (directory / "trusted-root.json").write_text(json.dumps(trust["trustedRoot"]))
        (directory / "signing-config.json").write_text(json.dumps(trust["signingConfig"]))
        signing = ["--trust-config", sigstore.trust_config, "--identity-token", self.token(SIGNER)]
        self.placet("bundle", "build", "policy", "-o", BUNDLE, "--opa", opa)
        self.placet("bundle", "sign", BUNDLE, *signing)
        self.placet("bundle", "attest", BUNDLE, "--tests", "policy", "--opa", opa, *signing)
        self.placet("step", "run", "test", "--materials", "policy/**/*.rego", "--products", "report.txt", *signing,
                    "--", "sh", "-c", "echo passed > report.txt")  # fmt: skip
        for line in (directory / ATTESTATIONS).read_bytes().splitlines():
            said = statement_of(line)
            name = said["predicate"].get("name", "test-result")
            (directory / f"{name}.json").write_bytes(line)

    def token(self, who):
        """A file with a fresh identity token."""
        file = self.directory / f"{who}.jwt"
        file.write_text(self.sigstore.token(who))
        file.chmod(0o600)
        return file

    def run(self, command, *, expect=0):
        """A command, to its end, as somebody who has no settings of his own."""
        home = {"HOME": str(self.directory), "XDG_CACHE_HOME": str(self.directory / "cache"), "TUF_ROOT": "/nowhere"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PLACET_", "COSIGN_"))}
        done = subprocess.run(
            [*map(str, command)], cwd=self.directory, env=inherited | home, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == expect, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def placet(self, *arguments, expect=0):
        return self.run([PLACET, *arguments], expect=expect)

    def verified_by_placet(self, bundle, *, policy=None, expect=0):
        who = ["--policy", policy] if policy else named(self, SIGNER)
        said = self.placet("bundle", "verify", bundle, *who, "--trust-config", self.sigstore.trust_config,
                           "--opa", self.opa, "--output", "json", expect=expect)  # fmt: skip
        return json.loads(said[: said.rindex("}") + 1])

    def verified_by_cosign(self, evidence, artifact, predicate_type, *, who=SIGNER, expect=0):
        return self.run(
            [self.cosign_binary, "verify-blob-attestation", "--trusted-root", "trusted-root.json",
             "--use-signed-timestamps", *named(self, who), "--bundle", evidence, "--type", predicate_type, artifact],
            expect=expect,
        )  # fmt: skip

    def verified_by_sigstore_python(self, evidence, artifact, *, who=SIGNER, expect=0):
        return self.run(
            [sys.executable, "-m", "sigstore", "--trust-config", self.sigstore.trust_config, "verify", "identity",
             "--cert-identity", who, "--cert-oidc-issuer", self.sigstore.issuer_url, "--bundle", evidence, artifact],
            expect=expect,
        )  # fmt: skip

    def signed_by_cosign(self, command, to, *arguments, who=SIGNER):
        self.run(
            [self.cosign_binary, command, "--signing-config", "signing-config.json",
             "--trusted-root", "trusted-root.json", "--identity-token", self.token(who), "--yes",
             "--bundle", to, *arguments]
        )  # fmt: skip


def named(release, who):
    return ["--certificate-identity", who, "--certificate-oidc-issuer", release.sigstore.issuer_url]


def statement_of(evidence):
    return json.loads(base64.b64decode(json.loads(evidence)["dsseEnvelope"]["payload"]))


def altered(evidence):
    """Sigstore bundles that say something else than what was signed, or are signed by nobody: what, and the bundle."""
    document = json.loads(evidence)
    envelope = document["dsseEnvelope"]
    said = base64.b64decode(envelope["payload"])
    payload = base64.b64encode(said.replace(b'"predicate"', b'"predicate" ', 1)).decode()
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[-1] ^= 1
    signed = [{**envelope["signatures"][0], "sig": base64.b64encode(signature).decode()}]
    yield "statement", {**document, "dsseEnvelope": {**envelope, "payload": payload}}
    yield "signature", {**document, "dsseEnvelope": {**envelope, "signatures": signed}}


@pytest.fixture(scope="module")
def release(tmp_path_factory, sigstore, opa_binary):
    return Release(tmp_path_factory.mktemp("release"), sigstore, opa_binary)


# ---- ours, verified by others --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_verifies(release, kind):
    evidence, artifact, predicate_type = KINDS[kind]
    assert "Verified OK" in release.verified_by_cosign(evidence, artifact, predicate_type)
    assert "SAN value" in release.verified_by_cosign(evidence, artifact, predicate_type, who=OTHER, expect=1)
    other_type = statements.TEST_RESULT if predicate_type == statements.LINK else statements.LINK
    assert "predicate type" in release.verified_by_cosign(evidence, artifact, other_type, expect=1)


@pytest.mark.parametrize("kind", KINDS)
def test_sigstore_python_verifies(release, kind):
    evidence, artifact, _ = KINDS[kind]
    assert f"OK: {artifact}" in release.verified_by_sigstore_python(evidence, artifact)
    assert f"FAIL: {artifact}" in release.verified_by_sigstore_python(evidence, artifact, who=OTHER, expect=1)


@pytest.mark.parametrize("kind", KINDS)
def test_others_refuse_what_was_altered(release, tmp_path, kind):
    evidence, artifact, predicate_type = KINDS[kind]
    changed = tmp_path / artifact
    changed.write_bytes((release.directory / artifact).read_bytes() + b"\n")
    assert "do not match digests" in release.verified_by_cosign(evidence, changed, predicate_type, expect=1)
    assert "FAIL" in release.verified_by_sigstore_python(evidence, changed, expect=1)
    for what, document in altered((release.directory / evidence).read_bytes()):
        spoilt = tmp_path / f"{what}.json"
        spoilt.write_text(json.dumps(document))
        assert "Error" in release.verified_by_cosign(spoilt, artifact, predicate_type, expect=1)
        assert "FAIL" in release.verified_by_sigstore_python(spoilt, artifact, expect=1)


def documented(command):
    """The words of the command in docs/verification.md that begins so."""
    text = (REPOSITORY / "docs" / "verification.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if block.startswith(command)]
    return shlex.split(found.replace("\\\n", ""))


@pytest.mark.parametrize(
    ("command", "said"), [("cosign verify-blob-attestation", "Verified OK"), ("python -m sigstore", f"OK: {BUNDLE}")]
)
def test_the_documented_commands_verify_a_release(release, command, said):
    words = documented(command)
    words[words.index("https://accounts.example.org")] = release.sigstore.issuer_url
    if words[0] == "cosign":  # of an instance that is not the public one, as the text beside it says
        words = [release.cosign_binary, words[1], "--trusted-root", "trusted-root.json", *words[2:]]
    else:
        words = [sys.executable, "-m", "sigstore", "--trust-config", release.sigstore.trust_config, *words[3:]]
    assert said in release.run(words)


# ---- what cosign signed, verified by us ------------------------------------------------------------------------


@pytest.fixture
def copied(release, tmp_path):
    """The bundle alone, without any evidence."""
    return Path(shutil.copy(release.directory / BUNDLE, tmp_path / BUNDLE))


def written(path, predicate_type, predicate, of):
    subject = [statements.resource(of.name, digest_of(of.read_bytes()))]
    path.write_bytes(statements.statement(subject, predicate_type, predicate))
    return path


def beside(path, suffix):
    return path.with_name(path.name + suffix)


def test_placet_verifies_what_cosign_signed(release, copied, tmp_path):
    signed = {}
    for kind, suffix in (("the signature", "provenance"), ("the test result", "test-result")):
        evidence, _, predicate_type = KINDS[kind]
        predicate = statement_of((release.directory / evidence).read_bytes())["predicate"]
        statement = written(tmp_path / f"{suffix}.json", predicate_type, predicate, copied)
        release.signed_by_cosign("attest-blob", tmp_path / f"{suffix}.sigstore", "--statement", statement)
        signed[suffix] = (tmp_path / f"{suffix}.sigstore").read_bytes()
    beside(copied, ".sigstore.json").write_bytes(signed["provenance"])
    beside(copied, ".attestations.jsonl").write_bytes(signed["test-result"].strip() + b"\n")
    policy = tmp_path / "policy.yaml"
    condition = {"type": statements.TEST_RESULT, "condition": 'input.predicate.result == "PASSED"'}
    who = {"identity": SIGNER, "issuer": release.sigstore.issuer_url}
    policy.write_text(yaml.safe_dump({"identities": [who], "required_predicates": [condition]}))

    verified = release.verified_by_placet(copied, policy=policy)
    assert (verified["identity"], verified["attestations"]) == (SIGNER, [statements.TEST_RESULT])

    for _, document in altered(signed["test-result"]):
        beside(copied, ".attestations.jsonl").write_bytes(strict_json.canonical(document) + b"\n")
        denied = release.verified_by_placet(copied, policy=policy, expect=3)
        assert (denied["reason"], denied["step"]) == ("evidence.invalid", "attestations[0]")
    beside(copied, ".attestations.jsonl").unlink()
    assert release.verified_by_placet(copied, policy=policy, expect=3)["reason"] == "evidence.incomplete"
    for _, document in altered(signed["provenance"]):
        beside(copied, ".sigstore.json").write_text(json.dumps(document))
        denied = release.verified_by_placet(copied, expect=3)
        assert (denied["reason"], denied["step"]) == ("evidence.invalid", "signature")
    beside(copied, ".sigstore.json").write_bytes(signed["provenance"])
    copied.write_bytes(copied.read_bytes() + b"\0")
    assert release.verified_by_placet(copied, expect=3)["reason"] == "evidence.subject"


def test_placet_refuses_who_may_not_sign_with_cosign_either(release, copied, tmp_path):
    predicate = statement_of((release.directory / SIGNATURE).read_bytes())["predicate"]
    statement = written(tmp_path / "statement.json", statements.PROVENANCE, predicate, copied)
    release.signed_by_cosign("attest-blob", beside(copied, ".sigstore.json"), "--statement", statement, who=OTHER)
    denied = release.verified_by_placet(copied, expect=3)
    assert (denied["reason"], denied["field"]) == ("evidence.identity", "certificate.identity")
    assert OTHER in denied["detail"]


def test_a_statement_of_the_older_version_is_refused(release, copied, tmp_path):
    """Given a predicate, cosign writes a Statement v0.1; given a statement, it signs that."""
    predicate = statement_of((release.directory / SIGNATURE).read_bytes())["predicate"]
    (file := tmp_path / "predicate.json").write_text(json.dumps(predicate))
    of = ["--predicate", file, "--type", "slsaprovenance1", copied]
    release.signed_by_cosign("attest-blob", beside(copied, ".sigstore.json"), *of)
    denied = release.verified_by_placet(copied, expect=3)
    assert (denied["reason"], denied["field"]) == ("evidence.predicate", "_type")
    assert "Statement/v0.1" in denied["detail"]
    assert "--statement" in denied["detail"]


def test_a_signature_without_a_statement_is_refused(release, copied):
    """`cosign sign-blob` says that somebody signed these bytes, and nothing of how they came to be."""
    release.signed_by_cosign("sign-blob", beside(copied, ".sigstore.json"), copied)
    denied = release.verified_by_placet(copied, expect=3)
    assert (denied["reason"], denied["field"]) == ("evidence.malformed", "bundle.dsseEnvelope")
