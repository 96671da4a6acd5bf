"""Identities of sidecars: who gets a token, what stands in it, and by which documents others check it."""

import time
from datetime import datetime, timedelta

import jwt
import pytest

from app.control import identity_issuer
from app.control.identity_issuer import issuer_url
from app.control.plane import DEFAULT_IDENTITY_ISSUER
from app.control.store.columns import now
from app.core.errors import UsageError

from .test_keyring import move, statuses

IDENTITY = "/api/v1/systems/payments/sidecars/one/identity"
SIDECAR_SCOPES = ("record:write", "execution:write", "environment:write")


def bound_to(api, sidecar="one", system="payments", scopes=("record:write",)):
    body = {"name": f"sidecar {sidecar}", "scopes": list(scopes), "system": system, "sidecar": sidecar}
    answer = api.post("/api/v1/tokens", json=body)
    assert answer.status_code == 201, answer.text
    return type(api)(api.client, answer.json()["token"])


@pytest.fixture
def sidecar(api):
    api.create_system("payments")
    return bound_to(api)


def decoded(anonymous, token):
    """The claims, checked as a client does: by the documents alone, which need no token."""
    discovery = anonymous.get("/.well-known/openid-configuration").json()
    assert discovery["jwks_uri"] == f"{discovery['issuer']}/oauth/identity-keys"
    jwks = anonymous.get("/oauth/identity-keys").json()
    header = jwt.get_unverified_header(token)
    (key,) = [jwk for jwk in jwks["keys"] if jwk["kid"] == header["kid"]]
    algorithms = discovery["id_token_signing_alg_values_supported"]
    assert (header, algorithms) == ({"alg": "ES256", "kid": key["kid"], "typ": "JWT"}, ["ES256"])
    return jwt.decode(
        token, jwt.PyJWK(key), algorithms=algorithms, audience="sigstore", issuer=discovery["issuer"]
    )  # fmt: skip


def test_a_sidecar_gets_its_own_identity(sidecar, anonymous):
    answer = sidecar.post(IDENTITY)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    claims = decoded(anonymous, answer.json()["token"])
    assert claims["iss"] == DEFAULT_IDENTITY_ISSUER
    assert claims["sub"] == "spiffe://placet.internal/sidecar/payments/one"
    assert claims["exp"] - claims["iat"] == 300
    assert abs(claims["iat"] - time.time()) < 10
    assert datetime.fromisoformat(answer.json()["expires_at"]).timestamp() == claims["exp"]
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "jti"}
    again = sidecar.post(IDENTITY).json()["token"]
    assert decoded(anonymous, again)["jti"] != claims["jti"]


def test_nobody_else_gets_it(api, sidecar):
    """Not the administrator, not the system's token, not another sidecar: only a token that is bound to this one."""
    api.create_system("ledger")
    whole_system = api.with_token("record:write", system="payments")
    others = [api, api.with_token("record:write"), whole_system, bound_to(api, "two"), bound_to(api, "one", "ledger")]
    for other in others:
        answer = other.post(IDENTITY)
        assert (answer.status_code, "token" in answer.json()) == (403, False)
    assert "not bound to one of payments" in whole_system.post(IDENTITY).json()["detail"]
    assert bound_to(api, scopes=("execution:write",)).post(IDENTITY).status_code == 403, "without record:write"
    assert sidecar.post(IDENTITY.replace("/one/", "/two/")).status_code == 403
    assert sidecar.post(IDENTITY.replace("payments", "ledger")).status_code == 403


def test_the_documents_show_no_private_part_and_are_not_kept(anonymous):
    answer = anonymous.get("/oauth/identity-keys")
    assert answer.headers["cache-control"] == "no-store"
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert (key["alg"], key["use"]) == ("ES256", "sig")


def test_the_key_rotates_without_a_gap(api, sidecar, anonymous, plane):
    """The next key is in the documents before it signs, the old one as long as its tokens last."""
    old_token = sidecar.post(IDENTITY).json()["token"]
    old = jwt.get_unverified_header(old_token)["kid"]
    move(plane, old, signs_from=now() - timedelta(hours=1))
    new = api.post("/api/v1/signing-keys/identity/rotate", json={"lead_seconds": 60}).json()[0]["kid"]
    assert {one["kid"] for one in anonymous.get("/oauth/identity-keys").json()["keys"]} == {old, new}
    move(plane, new, signs_from=now())
    token = sidecar.post(IDENTITY).json()["token"]
    assert jwt.get_unverified_header(token)["kid"] == new
    assert decoded(anonymous, token)["sub"] == decoded(anonymous, old_token)["sub"]
    move(plane, new, signs_from=now() - timedelta(seconds=600))
    move(plane, old, signed_until=int(time.time()) - 121)
    assert statuses(plane, "identity") == {new: "current", old: "gone"}
    assert [one["kid"] for one in anonymous.get("/oauth/identity-keys").json()["keys"]] == [new]


def test_a_key_of_another_algorithm_is_refused(api, plane, tmp_path):
    """Fulcio would take no token of it."""
    from app.control.key_store import KeyStore

    ed25519, _ = KeyStore(tmp_path).create("given")
    p256, jwk = KeyStore(tmp_path).create("given", p256=True)
    refused = {"lead_seconds": 0, "key": f"file:{tmp_path / ed25519.removeprefix('file:')}"}
    answer = api.post("/api/v1/signing-keys/identity/rotate", json=refused)
    assert (answer.status_code, "must be P-256" in answer.json()["detail"]) == (422, True)
    taken = {"lead_seconds": 0, "key": f"file:{tmp_path / p256.removeprefix('file:')}"}
    assert api.post("/api/v1/signing-keys/identity/rotate", json=taken).json()[0]["kid"] == jwk["kid"]


def test_the_published_state_is_not_about_identities(api, plane):
    """The keys of identities are no keys of warrants or attestation results."""
    (kid,) = statuses(plane, "identity")
    assert kid not in api.get("/api/v1/warrant-issuers").text


def test_without_an_address_nothing_is_issued(api, sidecar, anonymous, plane):
    object.__setattr__(plane, "identity_issuer", "")
    assert (sidecar.post(IDENTITY).status_code, anonymous.get(identity_issuer.DISCOVERY).status_code) == (503, 404)


@pytest.mark.parametrize("url", ["https://placet.example.org", "http://127.0.0.1:8470", "https://x.example/placet"])
def test_an_issuer_is_an_address(url):
    assert issuer_url(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "give an address"),
        ("placet.example.org", "give an address"),
        ("ftp://placet.example.org", "give an address"),
        ("https://", "give an address"),
        (" https://x.example", "give an address"),
        ("https://x.example/", "without a slash"),
        ("https://x.example?a=b", "without user, query"),
        ("https://me@x.example", "without user, query"),
        ("https://x.example#a", "without user, query"),
        ("http://placet.example.org", "must be https"),
        ("https://[::1", "is no URL"),
        ("https://x.example:99999", "is no URL"),
    ],
)
def test_any_other_text_is_no_issuer(url, message):
    with pytest.raises(UsageError, match=message):
        issuer_url(url)
