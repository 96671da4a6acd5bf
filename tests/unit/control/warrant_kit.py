"""What the tests of warrants share: a trusted issuer with its tokens, a system, and requests."""

import base64
import json
import time
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519

from app.core.targets import governance_target
from app.core.warrant_request import APPROVAL

from .test_releases import target
from .test_trust import add_issuer, public

ISSUER = "https://tokens.example.org"
OTHER_ISSUER = "https://other.example.org"
KEY = ed25519.Ed25519PrivateKey.generate()
OTHER_KEY = ed25519.Ed25519PrivateKey.generate()
AUDIENCE = "spiffe://placet.internal/system/payments"
APPROVER = {"identity": "lead@example.org", "issuer": "https://accounts.example.org"}


def identity(subject="job-17", *, key=KEY, issuer=ISSUER, audience="payments", kid="k1", headers=None, **claims):
    """A JWT identity; claims given as None are left out."""
    at = int(time.time())
    body = {"iss": issuer, "sub": subject, "aud": audience, "iat": at, "exp": at + 300, **claims}
    body = {name: value for name, value in body.items() if value is not None}
    signed = jwt.api_jws.PyJWS()  # says nothing about what is signed, unlike `jwt.encode`
    return signed.encode(json.dumps(body).encode(), key, algorithm="EdDSA", headers={"kid": kid, **(headers or {})})


def prepared(api, **governance):
    """The system `payments`, two trusted issuers, and its governance."""
    api.create_system("payments")
    assert add_issuer(api, public(KEY)).status_code == 201
    assert add_issuer(api, public(OTHER_KEY), issuer=OTHER_ISSUER).status_code == 201
    if governance:
        govern(api, **governance)
    return api


def govern(api, system="payments", **document):
    path = f"/api/v1/systems/{system}/governance"
    version = api.get(path).json()["version"]
    answer = api.put(path, json={"document": document, "version": version})
    assert answer.status_code == 200, answer.text


def request(**changes):
    """A request for a warrant; members given as None are left out."""
    body = {
        "subject": {"issuer": ISSUER, "id": "job-17"},
        "actions": ["refund"],
        "resources": ["payment/*"],
        "constraints": {"amount": {"at_most": 100}},
        "lifetime_seconds": 300,
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def ask(api, *, system="payments", key=None, **changes):
    headers = {"Idempotency-Key": key} if key else {}
    return api.post(f"/api/v1/systems/{system}/warrants", json=request(**changes), headers=headers)


def approval(waiting, *, signer=APPROVER, predicate_type=APPROVAL, **predicate):
    """An approver's statement over a warrant as the API shows it, in the plain form of the unit tests' verifier."""
    said = {"system": waiting["system"], "warrant": waiting["id"], "request": waiting["request"], **predicate}
    statement = {"subject": waiting["request_digest"], "predicateType": predicate_type, "predicate": said}
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps({"signer": signer, **statement, "dsseEnvelope": {"payload": payload}})


def published(api, system="payments"):
    """The system's governance as its sidecars get it."""
    return json.loads(target(api.client, governance_target(system)))


def redemption(*warrants, execution=None, **changes):
    return {
        "execution": execution or uuid.uuid4().hex,
        "sidecar": "one",
        "instance": "i1",
        "subject": {"issuer": ISSUER, "id": "job-17"},
        "warrants": list(warrants),
        **changes,
    }


def counted(jti="w1", issuer="spiffe://partner.example/control-plane", uses=1, expires_at=None):
    return {"jti": jti, "issuer": issuer, "uses": uses, "expires_at": expires_at or int(time.time()) + 300}


def start(api, *warrants, system="payments", **changes):
    return api.post(f"/api/v1/systems/{system}/executions", json=redemption(*warrants, **changes))


def reason(answer):
    return answer.status_code, answer.json().get("reason")
