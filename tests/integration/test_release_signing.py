"""Signing when something is down or refuses: one line that says what, and never a signature that cannot verify."""

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import jwt
import pytest
from id._internal.oidc import ambient
from sigstore import sign

from app.core import signing
from app.core.errors import PlacetError, UsageError
from app.core.signing import SigningSession, identity_token
from app.core.trust import TrustConfig
from app.local.sigstore import LocalSigstore

from .release_kit import DEVELOPER, bundle, provenance

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def trust(sigstore):
    return TrustConfig.from_file(sigstore.trust_config)


def failure(kind, call):
    with pytest.raises(kind) as error:
        call()
    assert error.value.exit_code == kind.exit_code
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    return str(error.value)


@pytest.mark.parametrize("token", ["", "garbage", "a.b.c", "\u00e9.\u00e9.\u00e9", "e30.e30.e30", "x" * 100_000])
def test_a_token_that_is_none(trust, token):
    assert "identity token cannot be used" in failure(UsageError, lambda: SigningSession(trust, token))


def forged(sigstore, **claims):
    now = 1_700_000_000
    body = {"iss": sigstore.issuer_url, "aud": "sigstore", "sub": "x", "email": DEVELOPER, "email_verified": True,
            "iat": now, "nbf": now, "exp": 2_000_000_000, **claims}  # fmt: skip
    return jwt.encode(body, "a secret of the forger, long enough to be one", algorithm="HS256")


def test_an_expired_token(trust, sigstore):
    failure(UsageError, lambda: SigningSession(trust, forged(sigstore, exp=1_700_000_001)))


def test_a_token_for_another_audience(trust, sigstore):
    token = sigstore.token("spiffe://example.org/app", audience="payments")
    failure(UsageError, lambda: SigningSession(trust, token))


def test_a_token_that_fulcio_refuses(trust, sigstore):
    said = failure(PlacetError, lambda: SigningSession(trust, forged(sigstore)))
    assert said.startswith("cannot get a signing certificate: ")
    assert not said.endswith(": ")


@pytest.mark.parametrize("identity", ["d\u00e9v@example.org", "\u5f00\u53d1@example.org", "dev@ex\u00e4mple.org"])
def test_an_identity_that_is_not_ascii(trust, sigstore, identity):
    """X.509 e-mail names are ASCII (RFC 5280): refused in one line, or signed; never a crash in the CSR."""
    said = ""
    try:
        SigningSession(trust, sigstore.token(identity))
    except PlacetError as error:
        said = str(error)
    assert "\n" not in said


def test_a_token_is_read_from_a_file_or_the_environment(trust, tmp_path):
    (tmp_path / "token").write_bytes(b" a.b.c\n")
    assert identity_token(trust, tmp_path / "token", "d.e.f") == "a.b.c"
    assert identity_token(trust, None, " d.e.f\n") == "d.e.f"
    with pytest.raises(UsageError, match="cannot read the identity token"):
        identity_token(trust, tmp_path / "none", None)


@pytest.fixture
def nowhere(monkeypatch):
    """Not in a CI job, wherever the tests run."""
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "GOOGLE_SERVICE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "SIGSTORE_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GITHUB_ACTIONS": "true"}, "id-token: write"),
        (
            {
                "GITHUB_ACTIONS": "true",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "x",
                "ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:1/",
            },
            "id-token: write",
        ),
        ({"GITLAB_CI": "true"}, "SIGSTORE_ID_TOKEN"),
        ({"BUILDKITE": "true", "PATH": ""}, "buildkite-agent"),
        ({"CIRCLECI": "true", "PATH": ""}, "--identity-token FILE"),
    ],
)
def test_a_ci_job_without_an_identity_is_told_what_it_needs(trust, monkeypatch, nowhere, variables, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    told = failure(PlacetError, lambda: identity_token(trust, None, None))
    assert told.startswith("this CI job has no identity: ")
    assert said in told


def test_the_identity_of_a_buildkite_job(trust, sigstore, monkeypatch, nowhere, tmp_path):
    token = sigstore.token(DEVELOPER)
    agent = tmp_path / "buildkite-agent"
    agent.write_text(f'#!/bin/sh\ntest "$*" = "oidc request-token --audience sigstore" && echo {token}\n')
    agent.chmod(0o755)
    monkeypatch.setenv("BUILDKITE", "true")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert identity_token(trust, None, None) == token


def test_the_identity_of_a_gitlab_job(trust, sigstore, monkeypatch, nowhere):
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", token := sigstore.token(DEVELOPER))
    assert identity_token(trust, None, None) == token


@pytest.fixture
def google(monkeypatch, nowhere, tmp_path, sigstore):
    """A machine of Google Cloud: the file that says so, and its metadata server, which asks for its own header."""
    asked = []

    class Metadata(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(self.headers["Metadata-Flavor"] == "Google", b"")

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(self.headers["Authorization"] == "Bearer of the machine", body)

        def answer(self, allowed, body):
            asked.append((self.path, body))
            token = sigstore.token(DEVELOPER)
            given = json.dumps({"access_token": "of the machine", "token": token})
            self.send_response(200 if allowed else 403)
            self.end_headers()
            self.wfile.write((token if "identity?" in self.path else given).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    (tmp_path / "product").write_text("Google Compute Engine\n")
    monkeypatch.setattr(ambient, "_GCP_PRODUCT_NAME_FILE", str(tmp_path / "product"))
    for name in ("TOKEN", "IDENTITY", "GENERATEIDTOKEN"):
        place = f"_GCP_{name}_REQUEST_URL"
        monkeypatch.setattr(ambient, place, f"{address}/{getattr(ambient, place).partition('//')[2]}")
    yield asked
    server.shutdown()
    server.server_close()


def test_the_identity_of_a_google_cloud_machine(trust, google):
    assert SigningSession(trust, identity_token(trust, None, None)).identity == DEVELOPER
    [(path, _)] = google
    assert "audience=sigstore" in path


def test_the_identity_of_a_google_cloud_service_account(trust, google, monkeypatch):
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_NAME", "release@acme.iam.gserviceaccount.com")
    assert SigningSession(trust, identity_token(trust, None, None)).identity == DEVELOPER
    _, (path, body) = google
    assert "release@acme.iam.gserviceaccount.com" in path
    assert json.loads(body) == {"audience": "sigstore", "includeEmail": True}


def test_a_google_cloud_machine_that_has_none(trust, google, monkeypatch):
    monkeypatch.setattr(ambient, "_GCP_IDENTITY_REQUEST_URL", "http://127.0.0.1:1/identity")
    assert "GCP" in failure(PlacetError, lambda: identity_token(trust, None, None))


def stop(stack, service):
    server = stack._servers[service]
    os.kill(server.pid, signal.SIGKILL)
    server.wait()


@pytest.mark.parametrize("service", ["fulcio", "ct_log"])
def test_no_certificate_without(tmp_path, monkeypatch, service):
    monkeypatch.setattr(signing, "TIMEOUT", (1, 1))  # without its log, Fulcio goes on trying for a minute
    with LocalSigstore(tmp_path) as stack:
        trust = TrustConfig.from_file(stack.trust_config)
        stop(stack, service)
        said = failure(PlacetError, lambda: SigningSession(trust, stack.token(DEVELOPER)))
    assert said == f"cannot get a signing certificate: 127.0.0.1:{stack.ports.fulcio} does not answer"


@pytest.mark.parametrize("service", ["tsa", "rekor"])
def test_no_signature_without(tmp_path, service):
    with LocalSigstore(tmp_path) as stack:
        session = SigningSession(TrustConfig.from_file(stack.trust_config), stack.token(DEVELOPER))
        stop(stack, service)
        said = failure(PlacetError, lambda: session.sign(provenance(bundle())))
    assert said.startswith("cannot sign: ")
    assert ("timestamp" in said) == (service == "tsa")


def test_a_statement_that_is_none(trust, sigstore):
    session = SigningSession(trust, sigstore.token(DEVELOPER))
    failure(PlacetError, lambda: session.sign(b"{}"))


def test_a_certificate_that_has_expired(trust, sigstore, monkeypatch):
    session = SigningSession(trust, sigstore.token(DEVELOPER))

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) + timedelta(minutes=11)

    monkeypatch.setattr(sign, "datetime", Later)
    assert "Expired" in failure(PlacetError, lambda: session.sign(provenance(bundle())))
