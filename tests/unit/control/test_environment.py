"""Evidence about environments: what is refused, and what a result must never say or outlive."""

import base64
import json
import time
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from app.control import attestation_results
from app.control.settings import DEFAULT_DOMAIN
from app.core.governance import SystemGovernance

from .conftest import DEVELOPER, OTHER, signed
from .test_releases import target
from .test_trust import P256, add_issuer, public

CLOUD = "https://cloud.example.org"
ATTESTER = "https://attester.example.org"
VERIFIER = "https://attester.example.org/images"
KEY = ed25519.Ed25519PrivateKey.generate()
IMAGE = "sha256:" + "ab" * 32
VSA = "https://slsa.dev/verification_summary/v1"
PATH = "/api/v1/systems/payments/sidecars/one/environment"
RULES = {
    "image": {"identities": [DEVELOPER]},
    "tokens": [{"issuer": CLOUD, "audience": "placet", "region": {"region": "zone/region"}}],
    "attesters": [
        {"issuer": ATTESTER, "jwks": {"keys": [public(KEY)]}, "posture": {"level": "level"}, "verifier": VERIFIER}
    ],
}


@pytest.fixture
def api(api):
    api.create_system()
    assert add_issuer(api, public(KEY), issuer=CLOUD, audiences=["cloud"]).status_code == 201
    govern(api, **RULES)
    return api


def govern(api, **evidence):
    path = "/api/v1/systems/payments/governance"
    version = api.get(path).json()["version"]
    answer = api.put(path, json={"document": {"evidence": evidence}, "version": version})
    assert answer.status_code == 200, answer.text


def token(key=KEY, headers=None, algorithm="EdDSA", **claims):
    at = int(time.time())
    body = {"iss": CLOUD, "sub": "vm-7", "aud": "placet", "iat": at, "exp": at + 600, "zone": {"region": "eu-1"}}
    body = {name: value for name, value in {**body, **claims}.items() if value is not None}
    return jwt.encode(body, key, algorithm=algorithm, headers={"kid": "k1", **(headers or {})})


def eat(**claims):
    return token(**{"iss": ATTESTER, "level": 3, "aud": None, "exp": None, **claims})


def about_image(signer=DEVELOPER, predicate_type="https://slsa.dev/provenance/v1", digest=IMAGE, **predicate):
    return signed(signer, predicate_type, subject=digest, predicate=predicate).decode()


def image(*bundles, digest=IMAGE):
    return {"type": "image", "digest": digest, "bundles": list(bundles)}


def send(api, *evidence):
    return api.post(PATH, json={"evidence": list(evidence)})


def claims_of(answer):
    assert answer.status_code == 200, answer.text
    return jwt.decode(answer.json()["result"], options={"verify_signature": False})


def refused(api, said, *evidence):
    answer = send(api, *evidence)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert (problem["reason"], "\n" in problem["detail"]) == ("environment.refused", False)
    assert said in problem["detail"], problem["detail"]
    assert "eyJ" not in answer.text


def test_images_need_a_statement_that_says_yes_by_somebody_accepted(api):
    claims = claims_of(send(api, image(about_image())))
    assert claims["submods"]["image"]["digest"] == IMAGE
    assert claims_of(send(api, image(about_image(predicate_type=VSA, verificationResult="PASSED"))))
    refused(api, "does not say PASSED", image(about_image(predicate_type=VSA, verificationResult="FAILED")))
    refused(api, "does not say PASSED", image(about_image(), about_image(predicate_type=VSA)))
    refused(api, "evidence.identity", image(about_image(signer=OTHER)))
    refused(api, "evidence.identity", image(about_image(), about_image(signer=OTHER)))
    refused(api, "evidence.subject", image(about_image(digest="sha256:" + "cd" * 32)))
    refused(
        api, "neither SLSA provenance", image(about_image(predicate_type="https://in-toto.io/attestation/link/v0.3"))
    )
    refused(api, "evidence.malformed", image("no"))
    govern(api, image={"identities": [DEVELOPER], "required_predicates": [VSA, "https://slsa.dev/provenance/v1"]})
    refused(api, f"no {VSA}", image(about_image()))
    govern(api, image={"identities": [DEVELOPER], "digests": ["sha256:" + "cd" * 32]})
    refused(api, "not one of those", image(about_image()))
    govern(api)
    refused(api, "accepts no evidence about images", image(about_image()))


def test_tokens_count_for_their_own_audience_and_issuer(api):
    text = token(exp=int(time.time()) + 60, headers={"x5t": "dGh1bWI"})
    issued = claims_of(send(api, {"type": "token", "token": text}))
    assert issued["submods"] == {"region": {"ear.status": "affirming", "region": "eu-1"}}
    assert issued["exp"] - issued["iat"] <= 60, "a result never outlives its evidence"
    for said, text in {
        "no tokens of this issuer": token(iss=ATTESTER),
        "must be for the audience placet": token(aud="cloud"),
        "identity.audience": token(aud="else"),
        "identity.expired": token(exp=int(time.time()) - 1),
        "within 5 seconds": token(exp=int(time.time()) + 4),
        "identity.future": token(iat=int(time.time()) + 60),
        "identity.invalid": token(key=ed25519.Ed25519PrivateKey.generate()),
        "identity.key_unknown": token(headers={"kid": "k2"}),
        "identity.algorithm": token(key=P256, algorithm="ES256"),
        "must have a header of": token(headers={"x5u": "x"}),
        "identity.domain": token(sub="spiffe://elsewhere.example/x"),
        "zone/region is missing": token(zone={"region": ["eu-1"]}),
    }.items():
        refused(api, said, {"type": "token", "token": text})
    refused(api, "zone/region is missing", {"type": "token", "token": token(zone="eu-1")})
    refused(api, "it is no JWT", {"type": "token", "token": "nonsense"})
    refused(api, "speak about the region", *[{"type": "token", "token": token()}] * 2)


def test_a_token_of_somebody_in_quarantine_is_none_and_its_results_end(api):
    claims = claims_of(send(api, {"type": "token", "token": token()}))
    entry = {"issuer": CLOUD, "subject": "vm-7", "reason": "odd"}
    assert api.post("/api/v1/quarantine", json=entry).status_code == 201
    assert revoked(api) == [claims["jti"]]
    refused(api, "quarantine", {"type": "token", "token": token()})
    api.delete("/api/v1/quarantine", params={"issuer": CLOUD, "subject": "vm-7"})
    again = claims_of(send(api, {"type": "token", "token": token()}))
    assert api.delete("/api/v1/issuers", params={"issuer": CLOUD}).status_code == 204
    assert revoked(api) == sorted([claims["jti"], again["jti"]])
    refused(api, "identity.issuer_unknown", {"type": "token", "token": token()})


def other_key():
    return public(ed25519.Ed25519PrivateKey.generate())


def cloud(api, key, **changes):
    body = {"issuer": CLOUD, "audiences": ["cloud"], "jwks": {"keys": [key]}, **changes}
    assert api.post("/api/v1/issuers", json=body).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda api: cloud(api, other_key()),
        lambda api: cloud(api, public(KEY), names="node-"),
        lambda api: cloud(api, public(KEY), domain="elsewhere.example"),
        lambda api: api.delete("/api/v1/issuers", params={"issuer": CLOUD}),
        lambda api: api.post("/api/v1/quarantine", json={"domain": DEFAULT_DOMAIN, "reason": "odd"}),
    ],
    ids=["another key of its id", "other names", "another domain, not linked", "removed", "its domain in quarantine"],
)
def test_a_change_of_what_a_token_rests_on_ends_its_results(api, change):
    claims = claims_of(send(api, {"type": "token", "token": token()}))
    cloud(api, public(KEY), audiences=["cloud", "another"])
    assert revoked(api) == []
    change(api)
    assert revoked(api) == [claims["jti"]]
    [listed] = api.get("/api/v1/systems/payments/environment").json()
    assert listed["revoked_because"] == "the evidence is no longer accepted"


def test_a_domain_that_is_unlinked_ends_the_results_of_its_tokens(api):
    assert api.post("/api/v1/domains", json={"domain": "elsewhere.example"}).status_code == 201
    cloud(api, public(KEY), domain="elsewhere.example")
    claims = claims_of(send(api, {"type": "token", "token": token()}))
    assert api.delete("/api/v1/domains", params={"domain": "elsewhere.example"}).status_code == 204
    assert revoked(api) == [claims["jti"]]


def test_an_attester_that_changes_ends_its_results(api):
    rule = RULES["attesters"][0]
    for changed in (
        {**rule, "jwks": {"keys": [other_key()]}},
        {**rule, "max_age_seconds": 60},
        {**rule, "posture": {"level": "other"}},
    ):
        before = revoked(api)
        claims = claims_of(send(api, {"type": "eat", "token": eat()}))
        govern(api, **{**RULES, "lifetime_seconds": 301})
        assert revoked(api) == before
        govern(api, **{**RULES, "attesters": [changed]})
        assert revoked(api) == sorted([*before, claims["jti"]])
        govern(api, **RULES)


def revoked(api):
    document = SystemGovernance.model_validate_json(target(api.client, "payments.governance.json"))
    return [one.id for one in document.revoked_results]


def test_eats_are_fresh_and_of_an_attester(api):
    claims = claims_of(send(api, {"type": "eat", "token": eat()}))
    assert claims["submods"] == {"posture": {"ear.status": "affirming", "level": "3"}}
    at = int(time.time())
    for said, text in {
        "knows no such attester": eat(iss=CLOUD),
        "older than 300": eat(iat=at - 301),
        "in the future": eat(iat=at + 60),
        "does not verify": eat(key=ed25519.Ed25519PrivateKey.generate()),
        "of a key of the attester": eat(headers={"kid": "k2"}),
        "header must hold": eat(headers={"cty": "JWT"}),
        "level is missing": eat(level=None),
        "no text, number": eat(level=1.5),
    }.items():
        refused(api, said, {"type": "eat", "token": text})
    refused(api, "does not verify", {"type": "eat", "token": eat(iat=None)})
    refused(api, "does not verify", {"type": "eat", "token": eat(exp=at - 1)})
    refused(api, "of a key of the attester", {"type": "eat", "token": eat(key=P256, algorithm="ES256")})


def moment(seconds_ago):
    return datetime.fromtimestamp(time.time() - seconds_ago, UTC).isoformat()


def predicate(verified_ago=100, **changes):
    return {
        "verifier": {"id": VERIFIER},
        "timeVerified": moment(verified_ago),
        "resourceUri": "oci://registry.example.org/app",
        "policy": {"uri": "https://example.org/policy"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_2"],
    } | changes


def summary(headers=None, predicate_with=None, **changes):
    said = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "app", "digest": {"sha256": "ab" * 32}}],
        "predicateType": VSA,
        "predicate": predicate(**(predicate_with or {})),
    }
    return eat(headers={"typ": "vsa+jwt", **(headers or {})}, **said | changes)


def test_a_verification_summary_as_jwt_is_a_result_about_an_image(api):
    claims = claims_of(send(api, {"type": "vsa", "token": summary()}))
    assert claims["submods"] == {
        "image": {
            "ear.status": "affirming",
            "digest": IMAGE,
            "verifier": VERIFIER,
            "resource": "oci://registry.example.org/app",
            "policy": "https://example.org/policy",
            "levels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_2"],
        }
    }
    assert 190 <= claims["exp"] - claims["iat"] <= 200, "as old as the verification"
    soon = claims_of(send(api, {"type": "vsa", "token": summary(exp=int(time.time()) + 60)}))
    assert soon["exp"] - soon["iat"] <= 60
    [one, _] = api.get("/api/v1/systems/payments/environment").json()
    assert one["submods"] == claims["submods"]


NO_SUMMARY = "no statement of a verification summary"


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        ("knows no such attester", {"iss": CLOUD}),
        ("older than 300", {"iat": 1}),
        ("in the future", {"iat": 4102444800}),
        ("VSA does not verify", {"key": ed25519.Ed25519PrivateKey.generate()}),
        ("VSA's header must hold", {"headers": {"kid": "k2"}}),
        ("VSA's header must hold", {"headers": {"cty": "JWT"}}),
        ("must have the typ vsa+jwt", {"headers": {"typ": "JWT"}}),
        ("must have the typ vsa+jwt", {"headers": {"typ": "ear+jwt"}}),
        ("does not say PASSED", {"predicate_with": {"verificationResult": "FAILED"}}),
        ("does not say PASSED", {"predicate_with": {"verifiedLevels": ["SLSA_BUILD_LEVEL_3", "FAILED"]}}),
        (NO_SUMMARY, {"predicate_with": {"verificationResult": "passed"}}),
        ("another verifier", {"predicate_with": {"verifier": {"id": ATTESTER}}}),
        ("older than 300", {"predicate_with": {"verified_ago": 301}}),
        ("in the future", {"predicate_with": {"verified_ago": -6000}}),
        (NO_SUMMARY, {"predicate_with": {"timeVerified": "2027-01-15"}}),
        (NO_SUMMARY, {"predicate_with": {"timeVerified": "2027-01-15T08:00:00"}}),
        ("no time", {"predicate_with": {"timeVerified": "2027-13-15T08:00:00Z"}}),
        ("older than 300", {"predicate_with": {"timeVerified": "0001-01-01T00:00:00+23:00"}}),
        (NO_SUMMARY, {"predicate_with": {"policy": {"digest": {"sha256": "ab" * 32}}}}),
        (NO_SUMMARY, {"predicate_with": {"resourceUri": 7}}),
        (NO_SUMMARY, {"predicate_with": {"verifiedLevels": "SLSA_BUILD_LEVEL_3"}}),
        (NO_SUMMARY, {"predicate_with": {"verifiedLevels": ["a\nb"]}}),
        (NO_SUMMARY, {"predicate": None}),
        (NO_SUMMARY, {"_type": None}),
        (NO_SUMMARY, {"predicateType": "https://slsa.dev/provenance/v1"}),
        (NO_SUMMARY, {"subject": []}),
        (NO_SUMMARY, {"subject": [{"digest": {"sha256": "ab" * 32}}] * 2}),
        (NO_SUMMARY, {"subject": [{"digest": {"sha512": "ab" * 32}}]}),
        (NO_SUMMARY, {"subject": [{"digest": {"sha256": "AB" * 32}}]}),
        (NO_SUMMARY, {"subject": [{"digest": {"sha256": "ab" * 32 + "\n"}}]}),
    ],
)
def test_a_verification_summary_that_is_none_or_says_no(api, said, changes):
    refused(api, said, {"type": "vsa", "token": summary(**changes)})


def test_no_type_of_token_passes_for_another(api):
    refused(api, "send it as vsa", {"type": "eat", "token": summary(level=3)})
    refused(api, "must have the typ", {"type": "vsa", "token": eat()})
    refused(api, "speak about the image", image(about_image()), {"type": "vsa", "token": summary()})
    rule = RULES["attesters"][0]
    govern(api, attesters=[{**rule, "posture": {}}])
    refused(api, "no EATs of this attester", {"type": "eat", "token": eat()})
    govern(api, attesters=[{**rule, "verifier": None, "sidecar": "sub"}])
    refused(api, "no VSAs of this attester", {"type": "vsa", "token": summary()})
    govern(api, attesters=[{**rule, "sidecar": "sub"}])
    refused(api, "the VSA's sub is not this sidecar", {"type": "vsa", "token": summary()})


@pytest.mark.parametrize(
    "changed",
    [{"jwks": {"keys": [public(P256)]}}, {"max_age_seconds": 60}, {"verifier": "other"}, {"sidecar": "sub"}],
    ids=["key", "age", "verifier", "sidecar"],
)
def test_an_attester_that_changes_ends_the_results_of_its_summaries(api, changed):
    rule = RULES["attesters"][0]
    claims = claims_of(send(api, {"type": "vsa", "token": summary(predicate_with={"verified_ago": 0})}))
    govern(api, **{**RULES, "attesters": [{**rule, "posture": {"level": "other"}}]})
    assert revoked(api) == []
    govern(api, **{**RULES, "attesters": [{**rule, **changed}]})
    assert revoked(api) == [claims["jti"]]


def test_one_refusal_refuses_all_and_leaves_nothing(api):
    refused(api, "evidence.identity", {"type": "eat", "token": eat()}, image(about_image(signer=OTHER)))
    assert api.get("/api/v1/systems/payments/environment").json() == []


def test_a_change_of_what_is_accepted_revokes_what_rests_on_it(api):
    by_image, by_eat = claims_of(send(api, image(about_image()))), claims_of(send(api, {"type": "eat", "token": eat()}))
    govern(api, **{**RULES, "image": {"identities": [OTHER]}})
    assert revoked(api) == [by_image["jti"]]
    other_key = public(ed25519.Ed25519PrivateKey.generate(), kid="k9")
    govern(api, **{**RULES, "attesters": [{**RULES["attesters"][0], "jwks": {"keys": [other_key]}}]})
    assert revoked(api) == sorted([by_image["jti"], by_eat["jti"]])


def test_it_needs_its_scope_and_well_formed_evidence(api):
    assert send(api.with_token("system:read"), image(about_image())).status_code == 403
    assert send(api.with_token("environment:write", system="payments"), image(about_image())).status_code == 200
    for body in (
        {},
        {"evidence": []},
        {"evidence": [{"type": "word", "token": "x"}]},
        {"evidence": [{"type": "image", "digest": "ab", "bundles": ["{}"]}]},
        {"evidence": [{**image("{}"), "more": 1}]},
        {"evidence": [{"type": "eat", "token": ""}]},
        {"evidence": [{"type": "token", "token": "x"}] * 17},
    ):
        assert api.post(PATH, content=json.dumps(body)).status_code == 422, body
    unknown = api.post(PATH.replace("payments", "none"), json={"evidence": [image(about_image())]})
    assert unknown.status_code == 404


def test_many_results_never_keep_anybody_from_denying(api, monkeypatch):
    """More revoked results than can be listed count as all of them, until they expire; a sidecar gets only so many."""
    monkeypatch.setattr(attestation_results, "MAX_REVOKED", 3)
    monkeypatch.setattr(attestation_results, "MAX_HELD", 5)
    path, required = "/api/v1/systems/payments/governance", [{"kind": "region", "max_age_seconds": 300}]
    document = {"environment": required, "evidence": RULES}
    assert api.put(path, json={"document": document, "version": 1}).status_code == 200
    for _ in range(5):
        assert send(api, {"type": "token", "token": token()}).status_code == 200
    full = send(api, {"type": "token", "token": token()})
    assert (full.status_code, "come again later" in full.json()["detail"]) == (409, True)
    assert api.post("/api/v1/quarantine", json={"issuer": CLOUD, "subject": "vm-7", "reason": "r"}).status_code == 201
    assert api.delete("/api/v1/issuers", params={"issuer": CLOUD}).status_code == 204
    told = SystemGovernance.model_validate_json(target(api.client, "payments.governance.json"))
    assert len(told.revoked_results) == 3
    assert told.environment[0].accept == {"ear.status": ["none"]}, "which no result that affirms has"


def test_a_token_of_absurd_depth_is_refused(api):
    def part(raw):
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    deep = part(b'{"kid":' + b"[" * 5000 + b"]" * 5000 + b"}")
    body = part(json.dumps({"iss": ATTESTER, "iat": int(time.time())}).encode())
    refused(api, "it is no JWT", {"type": "eat", "token": f"{deep}.{body}.AA"})
    refused(api, "it is no JWT", {"type": "token", "token": f"{part(b'{}')}.{deep}.AA"})
