"""Token exchange (RFC 8693): a warrant for identity tokens, by a rule, with the same records as any other."""

import json
import time
from urllib.parse import urlencode

import jwt
import pytest
import sqlalchemy
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from sqlmodel import SQLModel, select

from app.control.api import oauth
from app.control.rates import Rate
from app.control.store import Warrant
from app.core.holder_keys import generate
from app.core.warrants import read

from .test_trust import add_issuer, public
from .warrant_kit import (
    APPROVER,
    AUDIENCE,
    ISSUER,
    KEY,
    OTHER_ISSUER,
    OTHER_KEY,
    approval,
    govern,
    identity,
    prepared,
    published,
)

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
WARRANTS = "/api/v1/systems/payments/warrants"

#: Jobs may refund up to 100; an agent of the other issuer may look, for anybody of the first.
JOBS = {
    "issuer": ISSUER,
    "subject": "job-*",
    "actions": ["refund", "look"],
    "resources": ["payment/*"],
    "constraints": {"amount": {"at_most": 100}},
    "max_lifetime_seconds": 600,
    "uses": 5,
    "depth": 1,
}
AGENTS = {
    "issuer": ISSUER,
    "subject": "*",
    "actor": {"issuer": OTHER_ISSUER, "subject": "agent-*"},
    "actions": ["look*"],
    "resources": ["*"],
    "max_lifetime_seconds": 60,
}


@pytest.fixture(autouse=True)
def fresh_rates(monkeypatch):
    """Each test begins with nobody known; the rates themselves have tests of their own."""
    monkeypatch.setattr(oauth, "_ADDRESSES", Rate(1000, 1000))
    monkeypatch.setattr(oauth, "_SUBJECTS", Rate(1000, 1000))


@pytest.fixture
def api(api):
    return prepared(api, exchange=[JOBS, AGENTS])


def exchange(api, subject_token=None, actor_token=None, **fields):
    """Exchange without any API token; fields given as None are left out."""
    form = {
        "grant_type": GRANT,
        "audience": AUDIENCE,
        "subject_token": subject_token or identity(),
        "subject_token_type": JWT,
        **({"actor_token": actor_token, "actor_token_type": JWT} if actor_token else {}),
        **fields,
    }
    form = {name: value for name, value in form.items() if value is not None}
    return api.client.post("/oauth/token", data=form)


def agent(subject="agent-1", **claims):
    return identity(subject, key=OTHER_KEY, issuer=OTHER_ISSUER, **claims)


def details(**members):
    return json.dumps([{"type": "placet_warrant", **members}])


def refused(answer):
    assert answer.status_code == 400, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["error_description"]
    return body["error"], body.get("reason")


def test_a_subject_token_becomes_a_warrant_as_wide_as_the_rule(api):
    answer = exchange(api)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["issued_token_type"], body["token_type"], body["scope"]) == (JWT, "N_A", "refund look")
    assert 595 <= body["expires_in"] <= 600
    granted = {name: JOBS[name] for name in ("actions", "resources", "constraints", "uses")}
    assert body["authorization_details"] == [{"type": "placet_warrant", **granted}]
    claims = read(body["access_token"]).claims.document()
    assert {name: claims[name] for name in granted} == granted
    assert (claims["sub"], claims["sub_id"]["iss"], claims["aud"]) == ("job-17", ISSUER, AUDIENCE)
    assert {"act", "depth", "cnf"} & set(claims) == set(), "no more than was asked for"
    (listed,) = api.get(WARRANTS).json()["items"]
    assert (listed["id"], listed["how"], listed["status"]) == (claims["jti"], "exchange", "issued")


def test_an_actor_token_names_who_acts(api):
    body = exchange(api, actor_token=agent()).json()
    claims = read(body["access_token"]).claims.document()
    assert claims["act"] == {"iss": OTHER_ISSUER, "sub": "agent-1"}
    assert (claims["sub"], claims["actions"], body["expires_in"] <= 60) == ("job-17", ["look*"], True)
    composite = exchange(api, identity(act={"sub": "agent-1", "iss": OTHER_ISSUER})).json()
    assert read(composite["access_token"]).claims.document()["act"] == claims["act"], "the token's own act is the same"


def test_what_is_asked_for_may_be_less(api):
    key = {"jwk": generate().jwk}
    asked = {
        "actions": ["refund"],
        "resources": ["payment/p-1", "payment/q-*"],
        "constraints": {"amount": {"at_most": 10}, "currency": {"in": ["EUR"]}},
        "lifetime_seconds": 30,
        "uses": 1,
        "depth": 1,
        "cnf": key,
    }
    body = exchange(api, authorization_details=details(**asked)).json()
    assert body["expires_in"] <= 30
    del asked["lifetime_seconds"]
    assert body["authorization_details"] == [{"type": "placet_warrant", **asked}]
    claims = read(body["access_token"]).claims.document()
    assert {name: claims[name] for name in asked} == asked
    assert exchange(api, scope="look").json()["scope"] == "look"
    assert exchange(api, scope="look", authorization_details=details(uses=2)).json()["scope"] == "look"


def test_nobody_gets_more_than_a_rule_allows(api):
    for asked in (
        {"scope": "pay"},
        {"scope": "refund pay"},
        {"scope": "refund*"},
        {"scope": "*"},
        {"authorization_details": details(resources=["payment*"])},
        {"authorization_details": details(resources=["*"])},
        {"authorization_details": details(constraints={"amount": {"at_most": 101}})},
        {"authorization_details": details(constraints={"amount": {"in": [1]}})},
        {"authorization_details": details(lifetime_seconds=601)},
        {"authorization_details": details(uses=6)},
        {"authorization_details": details(depth=2)},
        {"subject_token": identity("human-1")},
        {"subject_token": identity("job-17", key=OTHER_KEY, issuer=OTHER_ISSUER)},
        {"actor_token": agent("stranger"), "scope": "look"},
        {"actor_token": identity("agent-1"), "scope": "look"},
        {"actor_token": agent(), "scope": "refund"},
    ):
        assert refused(exchange(api, **asked)) == ("access_denied", "warrant.not_granted"), asked
    assert api.get(WARRANTS).json()["items"] == []
    govern(api)
    assert refused(exchange(api)) == ("access_denied", "warrant.not_granted"), "without rules nobody gets anything"


RSA = rsa.generate_private_key(65537, 2048)


def hmac_with_public_key():
    """Key confusion: HS256 with the public key's text as the secret."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = jwt.api_jws.PyJWS()
    at = int(time.time())
    body = json.dumps({"iss": ISSUER, "sub": "job-17", "aud": "payments", "exp": at + 60}).encode()

    class Unchecked(jwt.algorithms.HMACAlgorithm):
        def prepare_key(self, key):
            return key

    signed.unregister_algorithm("HS256")
    signed.register_algorithm("HS256", Unchecked(jwt.algorithms.HMACAlgorithm.SHA256))
    return signed.encode(body, pem, algorithm="HS256", headers={"kid": "k1"})


def unsigned():
    head, body, _ = identity().split(".")
    none = jwt.utils.base64url_encode(b'{"alg":"none","kid":"k1"}').decode()
    return f"{none}.{body}.{head}"


def signed(claim):
    """A good token with a claim as JSON text more."""
    claims = jwt.decode(identity(), options={"verify_signature": False})
    return jwt.api_jws.PyJWS().encode(
        f"{json.dumps(claims)[:-1]},{claim}}}".encode(), KEY, algorithm="EdDSA", headers={"kid": "k1"}
    )


def bad_tokens():
    """Made anew for each test: a suite may go on for longer than they are in the future."""
    return {
        "identity.malformed": [
            "x",
            "a.b.c",
            "x" * 8193,
            identity() + ".x",
            identity(headers={"crit": ["b64"]}),
            "é.é.é",
        ]
        + [identity(headers={"typ": typ}) for typ in ("warrant+jwt", "proof+jwt", "ear+jwt", "logout+jwt", "JWT2")]
        + [identity(headers={name: "x"}) for name in ("jku", "x5c", "x5u", "cty", "enc", "zip", "X5T")]
        + [identity(headers={"x5t": ["x"]}), identity()[:-6] + "AAAAAA."],
        "identity.issuer_unknown": [
            identity(issuer="https://nobody.example"),
            identity(issuer=7),
            identity("spiffe://example.org/x", issuer=7),
            identity(issuer=None),
        ],
        "identity.key_unknown": [identity(kid="k2")],
        "identity.algorithm": [unsigned(), hmac_with_public_key()],
        "identity.invalid": [identity(key=OTHER_KEY), identity()[:-6] + "AAAAAA"],
        "identity.audience": [
            identity(audience="ledger"),
            identity(audience=None),
            identity(audience=""),
            identity(audience=[]),
        ],
        "identity.expired": [identity(exp=int(time.time()) - 1)],
        "identity.not_yet_valid": [identity(nbf=int(time.time()) + 600)],
        "identity.future": [identity(iat=int(time.time()) + 600)],
        "identity.claims": [
            identity(exp=None),
            identity(exp=str(int(time.time()) + 60)),
            identity(subject=None),
            identity(subject=""),
            identity(subject="job\x001"),
            identity(iat=True),
            identity(exp=253402300800),
            identity(exp=1e308),
            signed('"nbf":null'),
            signed('"exp":null'),
            identity(nbf="soon", key=OTHER_KEY),
        ],
        "identity.domain": [
            identity("spiffe://example.org/x"),
            identity("spiffe://example.org/x\n"),
            identity("SYSTEM:serviceaccount:a:b"),
            identity("sp\u0130ffe:a"),
        ],
        "identity.actors": [
            signed('"act":null'),
            identity(act="agent"),
            identity(act={"sub": 1}),
            identity(act={"sub": "a", "act": {"sub": "b"}}),
        ],
    }


def test_tokens_that_no_sidecar_would_take_are_refused_with_their_code(api):
    for expected, tokens in bad_tokens().items():
        for token in tokens:
            assert refused(exchange(api, token)) == ("invalid_request", expected), token
            if expected != "identity.actors":
                assert refused(exchange(api, actor_token=token)) == ("invalid_request", expected), token
    assert api.get(WARRANTS).json()["items"] == []


def test_an_answer_never_quotes_a_token(api):
    for tokens in bad_tokens().values():
        for token in tokens:
            text = exchange(api, token).text
            assert not [part for part in token.split(".") if len(part) > 20 and part in text]


def test_a_token_for_the_control_plane_itself_is_taken(api):
    assert exchange(api, identity(audience="spiffe://placet.internal/control-plane")).status_code == 200
    assert exchange(api, identity(audience=["x", "payments"])).status_code == 200
    for typ in ("JWT", "jwt", "at+jwt", "JOSE"):
        assert exchange(api, identity(headers={"typ": typ})).status_code == 200
    assert exchange(api, identity(headers={"x5t": "dGh1bWI", "x5t#S256": "dGh1bWI"})).status_code == 200


def test_a_jwt_svid_needs_no_issuer(api):
    key = ed25519.Ed25519PrivateKey.generate()
    rule = JOBS | {"issuer": "spiffe://example.org", "subject": "spiffe://example.org/*"}
    body = {"issuer": "spiffe://example.org", "kind": "spiffe", "audiences": ["payments"]}
    assert api.post("/api/v1/issuers", json=body | {"jwks": {"keys": [public(key) | {"use": "jwt-svid"}]}}).is_success
    assert api.post("/api/v1/domains", json={"domain": "example.org"}).is_success
    govern(api, exchange=[rule])
    svid = identity("spiffe://example.org/app", key=key, issuer=None)
    claims = read(exchange(api, svid).json()["access_token"]).claims
    assert (claims.sub_id.iss, claims.sub) == ("spiffe://example.org", "spiffe://example.org/app")
    for foreign in ("spiffe://other.example/app", "spiffe://example.org/../app", "app"):
        assert exchange(api, identity(foreign, key=key, issuer=None)).status_code == 400, foreign


def test_may_act_and_actors_must_agree(api):
    named = identity(may_act={"sub": "agent-1", "iss": OTHER_ISSUER})
    assert exchange(api, named, agent()).status_code == 200
    for token in (
        identity(may_act={"sub": "agent-2"}),
        identity(may_act={"sub": "agent-1", "iss": ISSUER}),
        identity(may_act="agent-1"),
        identity(may_act={}),
        identity(act={"sub": "agent-9", "iss": OTHER_ISSUER}),
    ):
        assert refused(exchange(api, token, agent())) == ("invalid_request", "identity.actors")
    acting = agent(act={"sub": "agent-2"})
    assert refused(exchange(api, actor_token=acting)) == ("invalid_request", "identity.actors")


def test_stale_tokens_are_refused_where_the_system_says_so(api):
    govern(api, exchange=[JOBS], max_identity_age_seconds=60)
    assert exchange(api).status_code == 200
    old = identity(iat=int(time.time()) - 61)
    assert refused(exchange(api, old)) == ("invalid_request", "identity.stale")
    assert refused(exchange(api, identity(iat=None))) == ("invalid_request", "identity.stale")


def test_quarantine_and_foreign_domains_are_denied(api):
    entry = {"issuer": ISSUER, "subject": "job-17", "reason": "odd"}
    api.post("/api/v1/quarantine", json=entry)
    assert refused(exchange(api)) == ("access_denied", "quarantine.subject")
    api.post("/api/v1/quarantine", json={"issuer": OTHER_ISSUER, "subject": "agent-1", "reason": "odd"})
    assert refused(exchange(api, identity("job-1"), agent())) == ("access_denied", "quarantine.actor")
    assert exchange(api, identity("job-1")).status_code == 200
    assert exchange(api, identity("job-1"), agent("agent-2")).status_code == 200
    key = ed25519.Ed25519PrivateKey.generate()
    body = {"issuer": "https://partner.example", "audiences": ["payments"], "domain": "partner.example"}
    assert api.post("/api/v1/issuers", json=body | {"jwks": {"keys": [public(key)]}}).is_success
    govern(api, exchange=[JOBS | {"issuer": "https://partner.example"}])
    foreign = identity("job-1", key=key, issuer="https://partner.example")
    assert refused(exchange(api, foreign)) == ("invalid_request", "identity.domain")


def test_an_issuer_names_actors_of_its_own_domain_alone(api):
    key = ed25519.Ed25519PrivateKey.generate()
    partner = "https://partner.example"
    body = {"issuer": partner, "audiences": ["payments"], "domain": "partner.example"}
    assert api.post("/api/v1/issuers", json=body | {"jwks": {"keys": [public(key)]}}).is_success
    assert api.post("/api/v1/domains", json={"domain": "partner.example"}).is_success
    rule = JOBS | {"issuer": partner, "actor": {"issuer": OTHER_ISSUER, "subject": "agent-1"}}
    govern(api, exchange=[rule, JOBS | {"issuer": partner, "actor": {"issuer": partner, "subject": "*"}}])
    for act in (
        {"iss": OTHER_ISSUER, "sub": "agent-1"},
        {"iss": "https://nobody.example", "sub": "agent-1"},
        {"sub": "spiffe://placet.internal/agent"},
    ):
        acted = identity("job-1", key=key, issuer=partner, act=act)
        assert refused(exchange(api, acted)) == ("invalid_request", "identity.domain"), act
    assert exchange(api, identity("job-1", key=key, issuer=partner, act={"sub": "agent-1"})).status_code == 200
    assert exchange(api, identity("job-1", key=key, issuer=partner), agent()).status_code == 200, "it says so itself"


def test_nobody_floods_the_approvers(api, monkeypatch):
    monkeypatch.setattr("app.control.exchange._MAX_WAITING", 2)
    govern(api, exchange=[JOBS], approval={"required": True, "approvers": [APPROVER]})
    for lifetime in (1, 2, 2, 1):
        asked = exchange(api, authorization_details=details(lifetime_seconds=lifetime))
        assert refused(asked) == ("authorization_pending", "warrant.unapproved")
    asked = exchange(api, authorization_details=details(lifetime_seconds=3))
    assert refused(asked) == ("access_denied", "warrant.unapproved")
    assert len(api.get(WARRANTS).json()["items"]) == 2
    assert refused(exchange(api, identity("job-2")))[0] == "authorization_pending", "others may still ask"


def test_where_approval_is_required_an_exchange_waits_for_it(api):
    govern(api, exchange=[JOBS], approval={"required": True, "approvers": [APPROVER]})
    assert refused(exchange(api)) == ("authorization_pending", "warrant.unapproved")
    assert refused(exchange(api)) == ("authorization_pending", "warrant.unapproved")
    (waiting,) = api.get(WARRANTS).json()["items"]
    body = exchange(api).json()
    assert body["warrant"] == waiting["id"]
    whole = api.get(f"{WARRANTS}/{waiting['id']}").json()
    assert body["request_digest"] == whole["request_digest"]
    assert api.post(f"{WARRANTS}/{waiting['id']}/approvals", json={"evidence": approval(whole)}).status_code == 200
    tokens = [read(exchange(api).json()["access_token"]).claims for _ in range(2)]
    assert tokens[0] == tokens[1], "asked again, it is the same warrant"
    assert tokens[0].jti == waiting["id"]
    assert refused(exchange(api, scope="look"))[0] == "authorization_pending", "anything else waits for itself"
    api.delete(f"{WARRANTS}/{waiting['id']}")
    assert published(api)["revoked_warrants"][0]["id"] == waiting["id"]
    assert exchange(api).json()["warrant"] != waiting["id"]


def test_whoever_is_the_subject_cannot_approve(api):
    govern(api, exchange=[JOBS], approval={"required": True, "approvers": [APPROVER]})
    exchange(api, identity(email="lead@example.org"))
    (waiting,) = api.get(WARRANTS).json()["items"]
    whole = api.get(f"{WARRANTS}/{waiting['id']}").json()
    answer = api.post(f"{WARRANTS}/{waiting['id']}/approvals", json={"evidence": approval(whole)})
    assert (answer.status_code, answer.json()["reason"]) == (422, "warrant.unapproved")


BAD_FORMS = [
    ({"grant_type": None}, "invalid_request"),
    ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    ({"audience": None}, "invalid_request"),
    ({"audience": "payments"}, "invalid_target"),
    ({"audience": "spiffe://placet.internal/system/none"}, "invalid_target"),
    ({"audience": "spiffe://placet.internal/system/"}, "invalid_target"),
    ({"audience": "spiffe://other.example/system/payments"}, "invalid_target"),
    ({"resource": "https://api.example.org"}, "invalid_target"),
    ({"subject_token_type": None}, "invalid_request"),
    ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
    ({"actor_token_type": JWT}, "invalid_request"),
    ({"requested_token_type": "urn:ietf:params:oauth:token-type:access_token"}, "invalid_request"),
    ({"scope": "a  b"}, "invalid_scope"),
    ({"scope": "ä"}, "invalid_scope"),
    ({"scope": " ".join(f"a{number}" for number in range(33))}, "invalid_scope"),
    ({"authorization_details": "{}"}, "invalid_authorization_details"),
    ({"authorization_details": "[]"}, "invalid_authorization_details"),
    ({"authorization_details": "[1]"}, "invalid_authorization_details"),
    ({"authorization_details": '[{"type":"other"}]'}, "invalid_authorization_details"),
    ({"authorization_details": '[{"type":"placet_warrant","uses":1,"uses":2}]'}, "invalid_authorization_details"),
    ({"authorization_details": details(uses=1e400)}, "invalid_authorization_details"),
    ({"authorization_details": details(more=1)}, "invalid_authorization_details"),
    ({"authorization_details": "[" * 5000}, "invalid_authorization_details"),
    ({"scope": "look", "authorization_details": details(actions=["refund"])}, "invalid_request"),
]


def test_requests_of_another_form_are_refused_by_rfc_6749(api):
    for change, error in BAD_FORMS:
        assert refused(exchange(api, **change))[0] == error, change
    assert refused(api.client.post("/oauth/token", json={"grant_type": GRANT}))[0] == "invalid_request"
    assert refused(api.client.post("/oauth/token"))[0] == "invalid_request"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    form = {"grant_type": GRANT, "subject_token": identity(), "subject_token_type": JWT, "audience": AUDIENCE}
    for extra, error in (
        (f"&audience={AUDIENCE}", "invalid_target"),
        ("&grant_type=x", "invalid_request"),
        ("&x=%ff", "invalid_request"),
        ("&" + "&".join(f"f{number}=1" for number in range(40)), "invalid_request"),
    ):
        answer = api.client.post("/oauth/token", content=urlencode(form) + extra, headers=kind)
        assert refused(answer)[0] == error, extra
    assert api.client.post("/oauth/token", content=b"x" * 70_000, headers=kind).status_code == 413
    assert api.client.get("/oauth/token").status_code == 405
    assert api.client.get("/oauth/other").status_code == 401, "nothing else is open there"


def test_an_unknown_parameter_is_ignored_and_an_empty_one_absent(api):
    """RFC 6749, section 3.2."""
    assert exchange(api, client_id="gateway", actor_token=None, scope="").status_code == 200


def test_whoever_asks_too_often_has_to_wait(api, monkeypatch):
    monkeypatch.setattr(oauth, "_SUBJECTS", Rate(0.1, 2))
    assert [exchange(api).status_code for _ in range(3)] == [200, 200, 429]
    late = exchange(api)
    assert late.json()["error"] == "temporarily_unavailable"
    assert 1 <= int(late.headers["retry-after"]) <= 10  # less, the longer this machine took to ask
    assert exchange(api, identity("job-2")).status_code == 200, "others do not"
    monkeypatch.setattr(oauth, "_ADDRESSES", Rate(0.1, 1))
    assert [exchange(api, "x").status_code for _ in range(2)] == [400, 429]
    assert len(api.get(WARRANTS).json()["items"]) == 3, "what had to wait left nothing"


def test_a_rate_forgets_the_oldest_and_refills(monkeypatch):
    at = [100.0]
    monkeypatch.setattr("app.control.rates.time.monotonic", lambda: at[0])
    monkeypatch.setattr("app.control.rates._REMEMBERED", 3)
    rate = Rate(2, 2)
    assert [rate.wait("a"), rate.wait("a"), rate.wait("a")] == [0, 0, 0.5]
    at[0] += 0.5
    assert [rate.wait("a"), rate.wait("a")] == [0, 0.5]
    for other in ("b", "c", "d"):
        rate.wait(other)
    assert len(rate._left) == 3


def test_no_token_is_kept_or_logged(api, plane, caplog):
    caplog.set_level("DEBUG")
    subject, actor = identity(jti="find-me"), agent()
    granted = exchange(api, subject, actor).json()["access_token"]
    exchange(api, subject + "x")
    stored = []
    with plane.store.engine.connect() as connection:
        for table in SQLModel.metadata.sorted_tables:
            stored += [repr(tuple(row)) for row in connection.execute(sqlalchemy.select(table))]
    everything = "\n".join([*stored, caplog.text])
    assert "find-me" in everything, "the token's id is kept, so that its issuer's records can be found"
    for token in (subject, actor, granted):
        assert token.split(".")[1] not in everything
        assert token.split(".")[2] not in everything
    with plane.store.read() as session:
        (row,) = session.exec(select(Warrant)).all()
    assert set(row.obtained) == {"subject_token", "actor_token", "names"}


def test_an_issuer_that_is_trusted_no_longer_vouches_for_nobody(api):
    assert exchange(api).status_code == 200
    assert api.delete("/api/v1/issuers", params={"issuer": ISSUER}).status_code == 204
    assert refused(exchange(api)) == ("invalid_request", "identity.issuer_unknown")
    assert add_issuer(api, public(KEY)).status_code == 201
    assert exchange(api).status_code == 200
