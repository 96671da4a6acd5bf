"""Signing when something is down or refuses: one line that says what, and never a signature that cannot verify."""

import os
import re
import signal
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
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
    said = failure(UsageError, lambda: SigningSession(trust, token))
    assert said.startswith("the identity token cannot be used: ")
    assert (
        said.endswith('Token is missing the "aud" claim') if token == "e30.e30.e30" else "it is no valid JWT: " in said
    )


def forged(sigstore, **claims):
    now = 1_700_000_000
    body = {"iss": sigstore.issuer_url, "aud": "sigstore", "sub": "x", "email": DEVELOPER, "email_verified": True,
            "iat": now, "nbf": now, "exp": 2_000_000_000, **claims}  # fmt: skip
    return jwt.encode(body, "a secret of the forger, long enough to be one", algorithm="HS256")


def test_an_expired_token(trust, sigstore):
    for claims in ({"exp": 1_700_000_001}, {"exp": int(time.time()) - 1}, {"nbf": 1_999_999_999}):
        token = forged(sigstore, **claims)
        assert failure(UsageError, lambda token=token: SigningSession(trust, token)).endswith(
            ": it has expired, or is not valid yet; get a new one"
        )


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nbf": "soon"}, "a claim is of another type than it must be"),
        ({"exp": "soon"}, "must be an integer"),
        ({"sub": None}, "'sub'|\"sub\"|Subject"),
    ],
)
def test_a_token_with_unfit_claims(trust, sigstore, claims, said):
    assert re.search(said, failure(UsageError, lambda: SigningSession(trust, forged(sigstore, **claims))))


def test_a_token_for_another_audience(trust, sigstore):
    token = sigstore.token("spiffe://example.org/app", audience="payments")
    said = failure(UsageError, lambda: SigningSession(trust, token))
    assert said.endswith("it is for the audience 'payments', and Fulcio takes those for 'sigstore'")


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
