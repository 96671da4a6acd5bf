"""Quarantine and issuers: vetted, published before they are answered."""

import json
import subprocess
import sys

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from .test_releases import target


def public(key, **members):
    algorithms = {
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
    }
    algorithm = next(made for kind, made in algorithms.items() if isinstance(key, kind))
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": "k1", **members}


ED25519, P256, RSA = (
    ed25519.Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(65537, 2048),
)


def state(api):
    return json.loads(target(api.client, "state.json"))


def add_issuer(api, *keys, issuer="https://tokens.example.org", audiences=("payments",)):
    body = {"issuer": issuer, "audiences": list(audiences), "jwks": {"keys": list(keys)}}
    return api.post("/api/v1/issuers", json=body)


def test_quarantine_is_published_when_it_is_answered(api):
    subject = {"issuer": "https://tokens.example.org", "subject": "job-17"}
    assert api.post("/api/v1/quarantine", json=subject | {"reason": "odd"}).status_code == 201
    (entry,) = state(api)["quarantine"]
    assert {name: entry[name] for name in (*subject, "reason")} == subject | {"reason": "odd"}
    assert entry["since"].endswith("Z")

    again = api.post("/api/v1/quarantine", json=subject | {"reason": "other"})
    assert (again.status_code, again.json()["reason"]) == (200, "odd")
    assert len(state(api)["quarantine"]) == 1

    assert api.delete("/api/v1/quarantine", params=subject).status_code == 200
    assert state(api)["quarantine"] == []
    assert api.get("/api/v1/quarantine").json() == []
    assert api.delete("/api/v1/quarantine", params=subject).status_code == 404


@pytest.mark.parametrize("subject", ["", "a\0b", "a\nb", "\ud800", "x" * 2049, 7, None, ["a"]])
def test_subjects_that_no_sidecar_could_match_are_refused(api, subject):
    body = json.dumps({"issuer": "i", "subject": subject, "reason": "r"})
    assert api.post("/api/v1/quarantine", content=body).status_code == 422
    assert state(api)["quarantine"] == []


def test_hostile_text_is_only_text(api):
    subject = "'; DROP TABLE quarantine; -- <script>alert(1)</script> \u202e é 漢"
    assert api.post("/api/v1/quarantine", json={"issuer": "i", "subject": subject, "reason": ""}).status_code == 201
    assert state(api)["quarantine"][0]["subject"] == subject


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(ED25519, "EdDSA"), (P256, "ES256"), (ec.generate_private_key(ec.SECP384R1()), "ES384"), (RSA, "RS256")],
    ids=["Ed25519", "P-256", "P-384", "RSA"],
)
def test_good_keys_are_published_with_their_algorithm(api, key, algorithm):
    jwk = public(key, x5t="dropped", key_ops=["verify"])
    jwk.pop("alg", None)
    answer = add_issuer(api, jwk)
    assert answer.status_code == 201, answer.text
    (issuer,) = state(api)["issuers"]
    assert issuer["audiences"] == ["payments"]
    published = issuer["keys"]["k1"]
    assert (published["alg"], published["use"], published["kid"]) == (algorithm, "sig", "k1")
    assert set(published) <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}


BAD_KEYS = {
    "symmetric": {"kty": "oct", "k": "c2VjcmV0", "kid": "k1"},
    "private": {**jwt.algorithms.OKPAlgorithm.to_jwk(ED25519, as_dict=True), "kid": "k1"},
    "short RSA": public(rsa.generate_private_key(65537, 1024)),
    "no kid": {name: value for name, value in public(P256).items() if name != "kid"},
    "kid of a wrong type": public(P256, kid=7),
    "another curve": public(ec.generate_private_key(ec.SECP521R1())),
    "unknown kind": {"kty": "XX", "kid": "k1"},
    "kind of a wrong type": {"kty": ["EC"], "kid": "k1"},
    "alg of another kind": public(P256, alg="RS256"),
    "alg HS256": public(P256, alg="HS256"),
    "alg of a wrong type": public(RSA, alg=["RS256"]),
    "not on the curve": public(P256, x=public(ec.generate_private_key(ec.SECP256R1()))["x"]),
    "for encryption": public(P256, use="enc"),
    "not an object": "key",
}


@pytest.mark.parametrize("bad", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_one_bad_key_refuses_the_set(api, bad):
    for keys in ([bad], [public(ED25519, kid="good"), bad]):
        answer = add_issuer(api, *keys)
        assert answer.status_code == 422, answer.text
        assert "\n" not in answer.json()["detail"]
    assert state(api)["issuers"] == []


@pytest.mark.parametrize("jwks", [{}, {"keys": []}, {"keys": {}}, {"keys": "x"}, [], None])
def test_a_set_without_keys_is_refused(api, jwks):
    body = {"issuer": "i", "audiences": ["a"], "jwks": jwks}
    assert api.post("/api/v1/issuers", json=body).status_code == 422


@pytest.mark.parametrize(
    ("issuer", "said"),
    [
        ("notaurl", "must be an https URL"),
        ("http://tokens.example.org", "must be an https URL"),
        ("ftp://tokens.example.org", "must be an https URL"),
        ("https://", "must be an https URL"),
        ("https://a@tokens.example.org", "must be an https URL"),
        ("https://tokens.example.org?x", "must be an https URL"),
        ("https://tokens.example.org#x", "must be an https URL"),
        ("https://tokens.example.org/a b", "must be an https URL"),
        ("https://tokens.example.org:port", "is no URL"),
        ("https://[x", "is no URL"),
        ("spiffe://example.org", "--kind spiffe"),
    ],
)
def test_an_issuer_of_openid_connect_is_an_https_url(api, issuer, said):
    answer = add_issuer(api, public(P256), issuer=issuer)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert state(api)["issuers"] == []


@pytest.mark.parametrize("issuer", ["https://sts.example.org/tenant/", "http://127.0.0.1:8080", "http://[::1]:1/x"])
def test_issuers_that_are_urls(api, issuer):
    assert add_issuer(api, public(P256), issuer=issuer).status_code == 201


def test_the_same_kid_twice_is_refused(api):
    assert add_issuer(api, public(P256), public(ED25519)).status_code == 422


def test_an_issuer_is_replaced_and_removed(api):
    assert add_issuer(api, public(P256)).status_code == 201
    assert add_issuer(api, public(ED25519, kid="k2"), audiences=["a", "a", "b"]).status_code == 200
    (issuer,) = state(api)["issuers"]
    assert (list(issuer["keys"]), issuer["audiences"]) == (["k2"], ["a", "b"])
    assert api.delete("/api/v1/issuers", params={"issuer": issuer["issuer"]}).status_code == 204
    assert state(api)["issuers"] == []


def test_two_processes_share_one_writer_lock(api, plane, installed):
    """Publications of several processes never lose each other's changes or use a version twice."""
    script = f"""
from pathlib import Path
from app.control import quarantine
from app.control.plane import Plane
from app.control.settings import Settings
from app.control.tokens import Access
import sys
plane = Plane.open(Settings.load(Path({str(installed.directory)!r})), None)
for number in range(10):
    with plane.publishing() as session:
        quarantine.add(session, Access("x", "x", frozenset(), None), "i", f"{{sys.argv[1]}}-{{number}}", "r")
"""
    processes = [subprocess.Popen([sys.executable, "-c", script, str(number)]) for number in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    api.post("/api/v1/quarantine", json={"issuer": "i", "subject": "last", "reason": "r"})
    subjects = {entry["subject"] for entry in state(api)["quarantine"]}
    assert subjects == {f"{process}-{number}" for process in range(3) for number in range(10)} | {"last"}


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("spiffe://placet.internal/", "spiffe://placet.internal/", True),
        ("spiffe://placet.internal/", "spiffe://placet.internal/api/", True),
        ("spiffe://placet.internal/api/", "spiffe://placet.internal/web/", False),
        ("idp:", "", True),  # who may give any plain name may give this one
        ("spiffe://placet.internal/", "", False),
        ("", "", False),  # nobody asked for names of their own
    ],
)
def test_issuers_that_may_give_the_same_names_are_told(api, one, other, shared):
    """A policy that looks at the name alone would take it from both."""
    first, second = "https://one.example.org", "https://two.example.org"
    for issuer, names in ((first, one), (second, other)):
        body = {"issuer": issuer, "audiences": ["a"], "jwks": {"keys": [public(P256)]}} | (
            {"names": names} if names else {}
        )
        answer = api.post("/api/v1/issuers", json=body)
        assert answer.status_code == 201, answer.text
    assert answer.json()["shares_names_with"] == ([first] if shared else [])
    listed = {row["issuer"]: row["shares_names_with"] for row in api.get("/api/v1/issuers").json()}
    assert listed == {first: [second] if shared else [], second: [first] if shared else []}
