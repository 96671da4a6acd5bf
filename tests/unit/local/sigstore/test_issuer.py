import time

import jwt
import pytest
from sigstore.oidc import IdentityToken

from app.core.errors import UsageError
from app.local.sigstore import keys
from app.local.sigstore.issuer import Issuer

URL = "http://127.0.0.1:7560"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    return Issuer(URL, keys.load_or_create(tmp_path_factory.mktemp("issuer") / "keys"))


def claims(issuer, token, audience="sigstore"):
    """The claims, checked as a client does: by the key in the JWK set that the header names."""
    [key] = [
        key
        for key in jwt.PyJWKSet.from_dict(issuer.jwks()).keys
        if key.key_id == jwt.get_unverified_header(token)["kid"]
    ]
    return jwt.decode(token, key.key, algorithms=["ES256"], audience=audience, issuer=URL)


def test_a_person_gets_a_verified_email(issuer):
    content = claims(issuer, issuer.token("dev@example.org", ttl=60))
    assert content["sub"] == content["email"] == "dev@example.org"
    assert content["email_verified"] is True
    assert content["exp"] - content["iat"] == 60
    assert abs(content["iat"] - time.time()) < 5


def test_a_workload_gets_a_subject_alone(issuer):
    token = issuer.token("spiffe://example.org/billing", audience="payments", role="batch")
    content = claims(issuer, token, "payments")
    assert content["sub"] == "spiffe://example.org/billing"
    assert content["role"] == "batch"
    assert "email" not in content


def test_sigstore_python_takes_it(issuer):
    token = IdentityToken(issuer.token("dev@example.org"))
    assert (token.identity, token.issuer) == ("dev@example.org", URL)


def test_no_two_tokens_are_the_same(issuer):
    assert issuer.token("dev@example.org") != issuer.token("dev@example.org")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"identity": "payments"}, "another audience"),
        ({"identity": "spiffe://example.org/a@b"}, "another audience"),
        ({"identity": ""}, "is no identity"),
        ({"identity": " dev@example.org"}, "is no identity"),
        ({"identity": "dev@example.org", "audience": ""}, "audience is empty"),
        ({"identity": "dev@example.org", "ttl": 0}, "1 to 86400 seconds"),
        ({"identity": "dev@example.org", "ttl": float("nan")}, "1 to 86400 seconds"),
        ({"identity": "dev@example.org", "email_verified": False}, "'email_verified' itself"),
        ({"identity": "dev@example.org", "iss": "https://accounts.example"}, "'iss' itself"),
    ],
)
def test_nonsense_is_refused(issuer, arguments, message):
    with pytest.raises(UsageError, match=message):
        issuer.token(**arguments)


def test_discovery_names_the_algorithm_and_the_keys(issuer):
    discovery = issuer.discovery()
    assert discovery["issuer"] == URL
    assert discovery["jwks_uri"].startswith(URL)
    assert discovery["id_token_signing_alg_values_supported"] == ["ES256"]


def test_the_jwk_set_holds_no_private_part(issuer):
    [key] = issuer.jwks()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
