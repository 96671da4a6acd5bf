import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.core.targets import PublishedState, QuarantinedSubject, TrustedIssuer
from app.sidecar.trust_state import from_published

KEY = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
SHORT = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)


def issuer(name="https://issuer.example.org", keys=None, audiences=("payments",)):
    return TrustedIssuer(issuer=name, audiences=list(audiences), keys=keys or {"k1": KEY})


def subject(name, by="https://issuer.example.org", reason="lost its key"):
    return QuarantinedSubject(issuer=by, subject=name, reason=reason, since="2026-01-01T00:00:00Z")


def state(*issuers, quarantine=()):
    return from_published(PublishedState(issuers=list(issuers), quarantine=list(quarantine)))


def test_the_form_that_the_library_reads():
    made = state(issuer(), quarantine=[subject("a"), subject("b"), subject("a", by="https://other.example.org")])
    trusted = made.trust["issuers"]["https://issuer.example.org"]
    assert trusted["audiences"] == ["payments"]
    assert trusted["keys"]["k1"]["alg"] == "ES256"
    [only] = json.loads(trusted["keys"]["k1"]["jwks"])["keys"]
    assert (only["kid"], only["x"]) == ("k1", KEY["x"])
    subjects = made.trust["quarantine"]["subjects"]
    assert set(subjects["https://issuer.example.org"]) == {"a", "b"}
    assert subjects["https://other.example.org"]["a"] == {"reason": "lost its key", "since": "2026-01-01T00:00:00Z"}


def test_nobody_and_nothing():
    assert state().trust == {"issuers": {}, "quarantine": {"subjects": {}}}


def test_it_is_named_by_its_content(tmp_path):
    made = state(issuer(), quarantine=[subject("a")])
    assert made == state(issuer(), quarantine=[subject("a")])
    assert made.digest != state(issuer()).digest
    made.archive(tmp_path)
    [kept] = tmp_path.iterdir()
    assert digest_of(kept.read_bytes()) == made.digest == f"sha256:{kept.stem}"
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(b"kept as it is")
    made.archive(tmp_path)
    assert kept.read_bytes() == b"kept as it is"


@pytest.mark.parametrize(
    "keys",
    [
        {"k1": KEY, "k2": SHORT},
        {"k1": {"kty": "oct", "k": "c2VjcmV0"}},
        {"k1": {**KEY, "d": "AQAB"}},
        {"k1": {**KEY, "crv": "P-521"}},
        {"k1": {}},
        {"": KEY},
    ],
)
def test_one_bad_key_refuses_all(keys):
    with pytest.raises(Denied) as denied:
        state(issuer("https://good.example.org"), issuer(keys=keys))
    assert denied.value.reason == Reason.METADATA_INVALID


def test_an_issuer_twice():
    with pytest.raises(Denied) as denied:
        state(issuer(), issuer(audiences=["everything"]))
    assert denied.value.reason == Reason.METADATA_INVALID


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"quarantine": None},
        {"issuers": [{"issuer": "x", "audiences": [], "keys": {"k": KEY}}]},
        {"issuers": [{"issuer": "x", "audiences": ["a"], "keys": {}}]},
        {"issuers": [{"issuer": "", "audiences": ["a"], "keys": {"k": KEY}}]},
        {"quarantine": [{"issuer": "x", "subject": "", "reason": "", "since": ""}]},
        {"quarantine": [{"issuer": "x", "subject": 1, "reason": "", "since": ""}]},
        {"quarantine": [{"issuer": "x", "subject": "y", "reason": "", "since": "", "until": "tomorrow"}]},
    ],
)
def test_a_published_document_of_another_form(change):
    document = {"quarantine": [], "issuers": [], **change}
    with pytest.raises(ValueError):
        PublishedState.model_validate_json(json.dumps(document))


def test_usual_headers_name_their_one_key():
    headers = state(issuer()).trust["headers"]
    assert jwt.get_unverified_header(f"{min(headers)}.e30.")["kid"] == "k1"
    assert set(map(str, headers.values())) == {
        str({"issuer": "https://issuer.example.org", "kid": "k1", "alg": "ES256"})
    }
    written = jwt.encode({}, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": "k1"})
    assert written.split(".")[0] in headers


def test_a_header_that_two_keys_could_mean_is_not_listed():
    shared = state(issuer(), issuer("https://other.example.org", {"k1": KEY, "k2": KEY}))
    assert {key["kid"] for key in shared.trust["headers"].values()} == {"k2"}


def test_a_key_of_several_audiences_keeps_its_header_from_others():
    several = issuer("https://other.example.org", audiences=["a", "b"])
    assert "headers" not in state(several).trust
    assert "headers" not in state(issuer(), several).trust


def test_headers_are_left_out_of_a_state_that_would_grow_too_large():
    keys = {f"k{number}": KEY for number in range(64)}
    many = [issuer(f"https://{number}.example.org/{'x' * 1000}", dict(keys)) for number in range(1, 3)]
    assert "headers" in state(issuer(keys=keys)).trust
    large = state(issuer(f"https://1.example.org/{'x' * 1500}", {f"a{number}": KEY for number in range(64)}))
    assert "headers" not in large.trust
    assert "headers" not in state(*many).trust
