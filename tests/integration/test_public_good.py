"""Evidence that others signed with Sigstore's public instances: verified with their pinned roots, without a network."""

import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest
from sigstore.models import ClientTrustConfig
from sigstore.sign import SigningContext
from typer.testing import CliRunner

from app.core.errors import Denied, UsageError
from app.core.evidence import verify_evidence
from app.core.evidence_form import MEDIA_TYPE
from app.core.reason_codes import Reason
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local.tools import cache
from cli import sigstore as commands

PINNED = Path(__file__).with_name("public_good.txt")
PROVENANCE = "https://slsa.dev/provenance/v1"

#: Artifact, file of the attestation, who signed it, and in which instance.
GITHUB = ("pypi_attestations-0.0.19.tar.gz", ".slsa.attestation", "production", SignerIdentity(
    identity="https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19",
    issuer="https://token.actions.githubusercontent.com",
))  # fmt: skip
#: These carry no predicate at all, which is the last thing that we look at: all else of them was right.
BARE = [
    ("gitlab_oidc_project-0.0.3.tar.gz", ".publish.attestation", "production", SignerIdentity(
        identity="https://gitlab.com/facutuesca/gitlab-oidc-project//.gitlab-ci.yml@refs/heads/main",
        issuer="https://gitlab.com")),
    ("gcb_attestation_test-0.0.0.tar.gz", ".provenance", "production", SignerIdentity(
        identity="919436158236-compute@developer.gserviceaccount.com", issuer="https://accounts.google.com")),
    ("circleci_sign_publish_example-0.0.1.dev137-py3-none-any.whl", ".publish.attestation", "production",
     SignerIdentity(
        identity="https://circleci.com/api/v2/projects/fdd9283f-e619-46af-8f9c-851f7d3e8b2b/pipeline-definitions/"
        "8e4f8ab2-8d7c-4827-9f15-de076d6d647f", issuer="https://oidc.circleci.com")),
    ("rfc8785-0.1.2-py3-none-any.whl", ".publish.attestation", "staging", SignerIdentity(
        identity="william@yossarian.net", issuer="https://github.com/login/oauth")),
]  # fmt: skip


@pytest.fixture(scope="session")
def assets():
    """The files of the pinned source distribution, kept with the tools: pip brings it once, and checks its hash."""
    pinned = PINNED.read_bytes()
    kept = cache.cache_directory() / "attestations" / hashlib.sha256(pinned).hexdigest()[:16]
    if not kept.is_dir():
        own = Path(__file__).parents[2] / ".uv/bin/uv"
        uv = os.environ.get("UV") or shutil.which("uv") or own
        partial = kept.with_name(f"{kept.name}-{os.getpid()}")
        pip = ["--from", "pip", "--with", "setuptools", "--with", "setuptools-scm", "pip"]
        options = ["--no-deps", "--no-binary", "pypi-attestations", "--no-build-isolation", "--require-hashes"]
        subprocess.run(
            [uv, "tool", "run", "--quiet", *pip, "download", "--quiet", *options, "-r", PINNED, "-d", partial],
            check=True, timeout=280,
        )  # fmt: skip
        [archive] = partial.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(kept)
    [found] = kept.glob("*/test/assets")
    return found


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """sigstore-python has nothing but the roots in its own package, and whoever opens a socket fails."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    logging.getLogger("sigstore._internal.tuf").setLevel(logging.ERROR)
    asked = []
    original = ClientTrustConfig.from_tuf.__func__

    def embedded(kind, url, offline=False, bootstrap_root=None):
        asked.append(url)
        return original(kind, url, True, bootstrap_root)

    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(ClientTrustConfig, "from_tuf", classmethod(embedded))
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


@pytest.fixture
def pinned(offline, tmp_path):
    """The trust of an instance as `placet sigstore pin` writes it."""

    def trusted(instance):
        out = tmp_path / f"{instance}.json"
        staging = ["--staging"] if instance == "staging" else []
        done = CliRunner().invoke(commands.app, ["pin", "-o", str(out), *staging, "--output", "json"])
        assert done.exit_code == 0, done.output
        return TrustConfig.from_file(out)

    return trusted


def bundle(assets, artifact, kind):
    """An attestation of PEP 740 as the Sigstore bundle that it was made from."""
    document = json.loads((assets / (artifact + kind)).read_bytes())
    if "attestation_bundles" in document:
        document = document["attestation_bundles"][0]["attestations"][0]
    material, envelope = document["verification_material"], document["envelope"]
    return {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "certificate": {"rawBytes": material["certificate"]},
            "tlogEntries": material["transparency_entries"],
        },
        "dsseEnvelope": {
            "payload": envelope["statement"],
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": envelope["signature"]}],
        },
    }


def verify(assets, signed, trust, signer, about=None):
    artifact = about or (assets / signed[0]).read_bytes()
    document = signed[4] if len(signed) > 4 else bundle(assets, *signed[:2])
    return verify_evidence(
        json.dumps(document).encode(),
        subject=f"sha256:{hashlib.sha256(artifact).hexdigest()}",
        policy=VerificationPolicy(identities=[signer]),
        trust=trust,
        step="signature",
    )


def denial(*arguments, **options):
    with pytest.raises(Denied) as denied:
        verify(*arguments, **options)
    return denied.value


def others(signer):
    """Nobody whom the certificate names, though nearly."""
    return [
        signer.model_copy(update={"identity": signer.identity[:-1]}),
        signer.model_copy(update={"identity": signer.identity.upper()}),
        signer.model_copy(update={"issuer": "https://accounts.example.org"}),
    ]


def test_provenance_that_github_signed(assets, pinned):
    signer, trust = GITHUB[3], pinned("production")
    verified = verify(assets, GITHUB, trust, signer)
    assert (verified.signer, verified.predicate_type) == (signer, PROVENANCE)
    assert verified.signed_at.isoformat() == "2024-12-04T23:13:46+00:00"
    for other in others(signer):
        assert denial(assets, GITHUB, trust, other).reason == Reason.EVIDENCE_IDENTITY
    assert denial(assets, GITHUB, trust, signer, about=b"another").reason == Reason.EVIDENCE_SUBJECT
    assert denial(assets, GITHUB, pinned("staging"), signer).reason == Reason.EVIDENCE_INVALID


@pytest.mark.parametrize("signed", BARE, ids=lambda one: one[0].partition("-")[0])
def test_what_other_services_and_people_signed(assets, pinned, signed):
    _, _, instance, signer = signed
    trust, other = pinned(instance), pinned("staging" if instance == "production" else "production")
    right = denial(assets, signed, trust, signer)
    assert (right.reason, right.field) == (Reason.EVIDENCE_MALFORMED, "predicate")
    for one in others(signer):
        assert denial(assets, signed, trust, one).reason == Reason.EVIDENCE_IDENTITY
    assert denial(assets, signed, other, signer).reason == Reason.EVIDENCE_INVALID


def change(document, where):
    """The document with the log entry's part called `where` changed."""
    entry = document["verificationMaterial"]["tlogEntries"][0]
    proof = entry["inclusionProof"]
    if where == "checkpoint.origin":  # whose signature it is said to be
        text, _, signatures = proof["checkpoint"]["envelope"].partition("\n\n")
        changed = signatures.replace("rekor.sigstore.dev", "rekor.example.org")
        assert changed != signatures
        proof["checkpoint"]["envelope"] = f"{text}\n\n{changed}"
    elif where == "integratedTime":
        entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)
    else:
        proof["hashes"] = proof["hashes"][1:] + proof["hashes"][:1]


@pytest.mark.parametrize("where", ["checkpoint.origin", "integratedTime", "inclusionProof"])
def test_a_public_log_entry_that_was_changed(assets, pinned, where):
    document = bundle(assets, *GITHUB[:2])
    change(document, where)
    denied = denial(assets, (*GITHUB, document), pinned("production"), GITHUB[3])
    assert denied.reason == Reason.EVIDENCE_INVALID


def test_each_option_names_its_own_instance(offline, sigstore_like, tmp_path):
    found = {}
    for name, chosen in (("", {}), ("staging", {"staging": True}), ("own", {"file": sigstore_like})):
        trust = TrustConfig.choose(chosen.get("file"), staging=chosen.get("staging", False))
        context = SigningContext.from_trust_config(trust.config)
        rekor = context._rekor.url
        found[name] = (trust.config.signing_config.get_oidc_url(), context._fulcio.url, rekor)
    assert offline == ["https://tuf-repo-cdn.sigstore.dev", "https://tuf-repo-cdn.sigstage.dev"]
    assert found[""][:2] == ("https://oauth2.sigstore.dev/auth", "https://fulcio.sigstore.dev")
    assert found["staging"][:2] == ("https://oauth2.sigstage.dev/auth", "https://fulcio.sigstage.dev")
    assert ".sigstore.dev" in found[""][2] and ".sigstage.dev" in found["staging"][2]
    assert found["own"][:2] == ("https://oidc.example.org", "https://fulcio.example.org")
    with pytest.raises(UsageError, match="not both"):
        TrustConfig.choose(sigstore_like, staging=True)


@pytest.fixture
def sigstore_like(offline, tmp_path):
    """The trust config of somebody's own instance: the staging one's, with other addresses."""
    document = json.loads(TrustConfig(ClientTrustConfig.staging()).document())
    document["signingConfig"]["oidcUrls"][0]["url"] = "https://oidc.example.org"
    document["signingConfig"]["caUrls"][0]["url"] = "https://fulcio.example.org"
    path = tmp_path / "own.json"
    path.write_text(json.dumps(document))
    del offline[:]
    return path
