"""A CI job signs as itself: from what its service gives it to a release that verifies under the job's name."""

import json
import os

import pytest
from id._internal.oidc import ambient
from sigstore.models import Bundle

from app.core.bundle import digest_of
from app.core.errors import Denied, PlacetError
from app.core.evidence import verify_evidence
from app.core.reason_codes import Reason
from app.core.signing import SigningSession, identity_token
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

from .ci_kit import REQUEST_TOKEN, SERVICES, SHA, stand
from .release_kit import bundle, provenance

pytestmark = pytest.mark.stack

#: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
_FULCIO = "1.3.6.1.4.1.57264.1"

#: By service: the name in its certificate, and some of what else its certificate says.
EXPECTED = {
    "github": (
        "https://github.com/acme/policy/.github/workflows/release.yml@refs/heads/main",
        {12: "https://github.com/acme/policy", 13: SHA, 14: "refs/heads/main", 20: "push", 11: "github-hosted",
         21: "https://github.com/acme/policy/actions/runs/77/attempts/2", 22: "private"},
    ),
    "gitlab": (
        "https://gitlab.com/acme/policy//.gitlab-ci.yml@refs/heads/main",
        {12: "https://gitlab.com/acme/policy", 13: SHA, 14: "refs/heads/main", 20: "push",
         21: "https://gitlab.com/acme/policy/-/jobs/302"},
    ),
    "buildkite": (
        "https://buildkite.com/acme/policy",
        {11: "self-hosted", 13: SHA, 20: "webhook",
         21: "https://buildkite.com/acme/policy/builds/9#0184990a-477b-4fa8-9968-496074483cee"},
    ),
    "circleci": (
        "https://circleci.com/api/v2/projects/p-1/pipeline-definitions/d-1",
        {12: "github.com/acme/policy", 14: "refs/heads/main",
         21: "https://app.circleci.com//workflow/w-1/job/j-1"},
    ),
    "google": ("release@acme.iam.gserviceaccount.com", {}),
    "spire": ("spiffe://example.org/ci/release", {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    with stand(tmp_path_factory.mktemp("ci") / "sigstore") as (issuers, sigstore):
        yield issuers, TrustConfig.from_file(sigstore.trust_config)


@pytest.fixture
def job(services, monkeypatch, tmp_path):
    """Makes this process a job of a service: with its variables, programs and files, and no other's."""
    issuers, _ = services
    known = ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "GOOGLE_SERVICE_ACCOUNT_NAME", "SIGSTORE_ID_TOKEN")
    for name in (*known, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"):
        monkeypatch.delenv(name, raising=False)

    def program(name, arguments, service):
        """A CI system's own, which gives the token for exactly these arguments."""
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ntest \"$*\" = '{arguments}' && echo {issuers.token(service)}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def google():
        (tmp_path / "product").write_text("Google Compute Engine\n")
        monkeypatch.setattr(ambient, "_GCP_PRODUCT_NAME_FILE", str(tmp_path / "product"))
        for name in ("TOKEN", "IDENTITY", "GENERATEIDTOKEN"):
            place = f"_GCP_{name}_REQUEST_URL"
            path = getattr(ambient, place).partition("//")[2].partition("/")[2]
            monkeypatch.setattr(ambient, place, f"{issuers.base}/{path}")

    def become(service):
        if service == "github":
            monkeypatch.setenv("GITHUB_ACTIONS", "true")
            monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN)
            monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{issuers.base}/runner?api-version=2.0")
        elif service == "gitlab":
            monkeypatch.setenv("GITLAB_CI", "true")
            monkeypatch.setenv("SIGSTORE_ID_TOKEN", issuers.token("gitlab"))
        elif service == "buildkite":
            monkeypatch.setenv("BUILDKITE", "true")
            program("buildkite-agent", "oidc request-token --audience sigstore", service)
        elif service == "circleci":
            monkeypatch.setenv("CIRCLECI", "true")
            program("circleci", 'run oidc get --claims {"aud": "sigstore"} --root-issuer', service)
        elif service == "google":
            google()
        else:  # a SPIRE agent keeps a JWT-SVID in a file
            (tmp_path / "svid").write_text(issuers.token(service, ["sigstore"]))
            (tmp_path / "svid").chmod(0o600)
            return tmp_path / "svid"
        return None

    return become


def extensions(signature):
    """Fulcio's own of a certificate, by the last number of each."""
    found = {}
    for one in Bundle.from_json(signature).signing_certificate.extensions:
        above, _, last = one.oid.dotted_string.rpartition(".")
        if above == _FULCIO and int(last) >= 8:  # a UTF8String of less than 256 bytes; the older ones are not DER
            raw = one.value.value
            found[int(last)] = raw[2 if raw[1] < 128 else 3 :].decode()
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_job_signs_under_its_name(services, job, service):
    issuers, trust = services
    session = SigningSession(trust, identity_token(trust, job(service), None))
    name, says = EXPECTED[service]
    assert (session.identity, session.issuer) == (name, issuers.url(service))
    signature = session.sign(provenance(bundle()))
    assert extensions(signature).items() >= {8: issuers.url(service), **says}.items()

    def verify(identity):
        policy = VerificationPolicy(identities=[SignerIdentity(identity=identity, issuer=issuers.url(service))])
        return verify_evidence(signature, subject=digest_of(bundle()), policy=policy, trust=trust, step="signature")

    assert verify(name).signer.identity == name
    with pytest.raises(Denied) as denied:
        verify(name.replace("acme", "other").replace("p-1", "p-2").replace("/ci/", "/cd/"))
    assert denied.value.reason == Reason.EVIDENCE_IDENTITY


def test_a_service_account_of_google_cloud_is_asked_by_name(services, job, monkeypatch):
    issuers, trust = services
    job("google")
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_NAME", account := EXPECTED["google"][0])
    del issuers.asked[:]
    assert SigningSession(trust, identity_token(trust, None, None)).identity == account
    _, (path, body) = issuers.asked
    assert account in path
    assert json.loads(body) == {"audience": "sigstore", "includeEmail": True}


def test_a_google_cloud_machine_that_has_none(services, job, monkeypatch):
    job("google")
    monkeypatch.setattr(ambient, "_GCP_IDENTITY_REQUEST_URL", "http://127.0.0.1:1/identity")
    with pytest.raises(PlacetError, match="this CI job has no identity: GCP"):
        identity_token(services[1], None, None)


@pytest.mark.parametrize("subject", ["spiffe://other.example/ci/release", "ci/release"])
def test_a_workload_of_another_trust_domain_gets_no_certificate(services, subject):
    issuers, trust = services
    with pytest.raises(PlacetError, match="cannot get a signing certificate"):
        SigningSession(trust, issuers.token("spire", sub=subject))
