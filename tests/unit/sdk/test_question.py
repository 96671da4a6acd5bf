import base64
import hashlib
import json
import sys
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet_sdk import ConfigurationError
from placet_sdk.errors import Doubt
from placet_sdk.question import Grant, Question
from placet_sdk.strict_json import MAX_REQUEST


def sent(*args, identity=None, **options):
    return json.loads(Question(*args, **options).body(identity))["input"]


def grant(seconds=60.0):
    return Grant("e-1", "a.b.c", datetime.now(UTC) + timedelta(seconds=seconds))


def test_the_form_of_a_request():
    whole = sent(
        "read", ("payment", "p-1"), {"amount": 1}, identity={"token": "t"}, warrant=("w1", "w2"),
        environment=["r"], execution="e-1",
    )  # fmt: skip
    assert whole == {
        "action": {"name": "read"},
        "resource": {"type": "payment", "id": "p-1"},
        "context": {"amount": 1},
        "identity": {"token": "t"},
        "warrant": ["w1", "w2"],
        "environment": ["r"],
        "execution": {"id": "e-1"},
    }
    assert sent("read", ("payment", "p-1")) == {k: whole[k] for k in ("action", "resource")}
    assert sent({"name": "read", "method": "GET"}, {"type": "payment", "id": "p-1", "owner": "x"}) == {
        "action": {"name": "read", "method": "GET"},
        "resource": {"type": "payment", "id": "p-1", "owner": "x"},
    }


@pytest.mark.parametrize(
    ("action", "resource", "options"),
    [
        (None, ("payment", "p-1"), {}),
        (1, ("payment", "p-1"), {}),
        ({}, ("payment", "p-1"), {}),
        ("read", "payment/p-1", {}),
        ("read", ("payment",), {}),
        ("read", ("payment", "p", "1"), {}),
        ("read", None, {}),
        ("read", ["payment", "p-1"], {}),
        ("read", ("payment", "p-1"), {"context": {"amount": float("nan")}}),
        ("read", ("payment", "p-1"), {"context": {1: 2}}),
        ("read", ("payment", "\ud800"), {}),
        ("read", ("payment", "p-1"), {"context": {"at": datetime.now(UTC)}}),
        ("read", ("payment", "p-1"), {"warrant": "a.b.c"}),
        ("read", ("payment", "p-1"), {"environment": "a.b.c"}),
        ("read", ("payment", "p-1"), {"warrant": {"a.b.c"}}),
        ("read", ("payment", "p-1"), {"execution": object()}),
        ("read", ("payment", "p-1"), {"execution": ("e-1",)}),
        ("read", ("payment", "p-1"), {"execution": ("e-1", "token", "more")}),
        ("read", ("payment", "p-1"), {"context": {"text": "x" * MAX_REQUEST}}),
    ],
)
def test_what_is_no_request_is_not_sent(action, resource, options):
    with pytest.raises(Doubt, match=r"request\.malformed"):
        Question(action, resource, **options).body({"token": "t"})


def test_a_body_is_at_most_what_opa_takes():
    empty = len(Question("read", ("payment", "p-1"), {"text": ""}).body(None))
    assert len(Question("read", ("payment", "p-1"), {"text": "x" * (MAX_REQUEST - empty)}).body(None)) == MAX_REQUEST
    with pytest.raises(Doubt, match="bytes of JSON"):
        Question("read", ("payment", "p-1"), {"text": "x" * (MAX_REQUEST - empty + 1)}).body(None)


def test_inside_an_execution_its_token_is_all():
    run = grant()
    assert sent("read", ("payment", "p-1"), execution=run)["execution"] == {"id": "e-1", "token": "a.b.c"}
    assert "a.b.c" not in repr(run)
    for more in ({"warrant": ["w"]}, {"proof_key": Ed25519PrivateKey.generate()}):
        with pytest.raises(ConfigurationError, match="give none"):
            Question("read", ("payment", "p-1"), execution=run, **more)


def test_what_others_present_is_handed_on():
    presented = sent(
        "read", ("payment", "p-1"), identity={"token": "t"}, warrant=["w"], proof="p.p.p", execution=("e-1", "x")
    )
    assert presented["execution"] == {"id": "e-1", "token": "x"}
    assert (presented["warrant"], presented["proof"], presented["identity"]) == (["w"], "p.p.p", {"token": "t"})
    assert "w.w.w" not in repr(Question("read", ("payment", "p-1"), warrant=["w.w.w"]))
    with pytest.raises(ConfigurationError, match="not both"):
        Question("read", ("payment", "p-1"), proof="p.p.p", proof_key=ED25519)
    with pytest.raises(ConfigurationError, match="give none"):
        Question("read", ("payment", "p-1"), proof="p.p.p", execution=grant())


def test_an_execution_ends():
    run = grant()
    assert run.alive
    run.forget()
    assert not run.alive
    with pytest.raises(Doubt, match=r"execution\.expired"):
        Question("read", ("payment", "p-1"), execution=run).body(None)
    assert not grant(-1).alive


@pytest.mark.parametrize("clock", ["wall", "monotonic"])
def test_either_clock_ends_an_execution(clock, monkeypatch):
    run = grant(60)

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=61)

    if clock == "wall":
        monkeypatch.setattr("placet_sdk.question.datetime", Later)
    else:
        now = time.monotonic()
        monkeypatch.setattr("placet_sdk.question.time.monotonic", lambda: now + 61)
    assert not run.alive


ED25519, P256 = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(ED25519, "EdDSA"), (P256, "ES256"), (pem(ED25519), "EdDSA"), (pem(P256).decode(), "ES256")],
)
def test_a_proof_is_about_this_request(key, algorithm):
    body = sent("refund", ("payment", "p/ü"), proof_key=key, warrant=["w"])
    proof = body["proof"]
    assert jwt.get_unverified_header(proof) == {"alg": algorithm, "typ": "proof+jwt"}
    public = (ED25519 if algorithm == "EdDSA" else P256).public_key()
    claims = jwt.decode(proof, public, algorithms=[algorithm])
    text = ".".join(
        base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in ("refund", "payment", "p/ü")
    )
    assert claims["req"] == hashlib.sha256(text.encode()).hexdigest()
    assert abs(claims["iat"] - time.time()) < 5
    assert set(claims) == {"iat", "jti", "req"}
    assert jwt.decode(sent("refund", ("payment", "p/ü"), proof_key=key)["proof"], public, [algorithm]) != claims


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ({"title": "x"}, ("payment", "p")),
        ("read", ("payment", 1)),
        ("read", {"type": "payment"}),
        ("\ud800", ("a", "b")),
    ],
)
def test_there_is_no_proof_of_a_request_without_names(action, resource):
    with pytest.raises(Doubt, match=r"request\.malformed"):
        Question(action, resource, proof_key=ED25519).body(None)


@pytest.mark.parametrize(
    "key",
    [
        "junk", b"junk", "ü", 1, {}, ED25519.public_key(), rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        P256.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                           serialization.BestAvailableEncryption(b"x")),
    ],
)  # fmt: skip
def test_what_is_no_key_to_prove_with(key):
    with pytest.raises(ConfigurationError, match="proof_key"):
        Question("read", ("payment", "p-1"), proof_key=key).body(None)


def test_proofs_need_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ConfigurationError, match=r"placet-sdk\[proof\]"):
        Question("read", ("payment", "p-1"), proof_key=ED25519).body(None)
