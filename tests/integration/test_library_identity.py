"""Who asks, in a real OPA: every kind of token, actors, forwarded certificates and asserted subjects."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from app.local.tools import installed
from bench import stand

pytestmark = pytest.mark.stack

ISSUER = stand.Issuer()
SVIDS = stand.Issuer("spiffe://example.org", kid="s1")
CLUSTER = stand.Issuer("https://kubernetes.default.svc", kid="c1")
PARTNER = stand.Issuer("https://issuer.partner.example", kid="p1")
GATEWAY = "spiffe://example.org/gateway"
ACCOUNT = "system:serviceaccount:shop:web"


def trusted(**changes: Any) -> dict[str, Any]:
    issuers = {
        ISSUER.name: ISSUER.trusted(),
        SVIDS.name: SVIDS.trusted() | {"kind": "spiffe"},
        CLUSTER.name: CLUSTER.trusted(names="system:serviceaccount:") | {"kind": "kubernetes"},
        PARTNER.name: PARTNER.trusted(names="", domain="partner.example"),
    }
    grants = {ISSUER.name: {GATEWAY: {"forward-certificate": True, "assert-subject": True}}}
    return stand.trust_state(ISSUER, CLUSTER, **({"issuers": issuers, "grants": grants} | changes))


#: Says who it was asked for, and allows.
ECHO = {"app/authz.rego": 'package app.authz\n\ndecision := {"allow": true, "obligations": [data.placet.subject]}\n'}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stand.Server]:
    files = stand.composed(ECHO, "app/authz/decision", ["app"])
    with stand.running(installed("opa"), files, tmp_path_factory.mktemp("opa")) as server:
        yield server


@pytest.fixture
def opa(running: stand.Server) -> stand.Server:
    running.write(trusted())
    return running


def codes(decision: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in decision["reasons"]]


def who(opa: stand.Server, token: str, **beside: Any) -> Any:
    """The subject of the decision, or the codes of its denial."""
    decision = opa.decide(stand.request(None, identity={"token": token, **beside}))
    return decision["subject"] if decision["allow"] else codes(decision)


def test_tokens_of_every_kind(opa: stand.Server) -> None:
    web = "spiffe://example.org/web"
    assert who(opa, SVIDS.token(sub=web, iss=None)) == {
        "issuer": SVIDS.name, "id": web, "domain": "example.org", "actors": [],
    }  # fmt: skip
    assert who(opa, CLUSTER.token(sub=ACCOUNT))["id"] == ACCOUNT
    assert who(opa, ISSUER.token(sub=GATEWAY))["id"] == GATEWAY


def test_a_key_never_vouches_for_names_of_others(opa: stand.Server) -> None:
    for token in (
        CLUSTER.token(sub="spiffe://example.org/web"),
        ISSUER.token(sub=ACCOUNT),
        ISSUER.token(sub="spiffe://partner.example/web"),
        ISSUER.token(sub="alice"),
        SVIDS.token(sub="spiffe://example.org/a/../b", iss=None),
    ):
        assert who(opa, token) == ["identity.domain"]
    assert who(opa, SVIDS.token(sub="spiffe://partner.example/web", iss=None)) == ["identity.issuer_unknown"]


def test_a_foreign_domain_needs_a_link_and_then_a_flow(opa: stand.Server) -> None:
    token = PARTNER.token(sub="agent")
    assert who(opa, token) == ["identity.domain"]
    opa.write(trusted(links={"partner.example": True}))
    assert who(opa, token) == ["segment.boundary"]
    segments = {
        "subjects": {PARTNER.name: {"agent": "partners"}}, "subject_prefixes": {},
        "resources": {}, "resource_prefixes": [{"prefix": "payment/", "segment": "money"}],
        "flows": {"partners": {"money": ["refund"]}},
    }  # fmt: skip
    opa.write(trusted(links={"partner.example": True}, segments=segments))
    assert who(opa, token)["domain"] == "partner.example"
    # Who is named cannot stand for a workload of this domain.
    assert who(opa, PARTNER.token(sub="spiffe://example.org/web")) == ["identity.domain"]


def test_the_policy_and_the_record_see_every_actor(opa: stand.Server) -> None:
    act = {"sub": "spiffe://example.org/agent", "act": {"sub": "spiffe://example.org/tool", "iss": SVIDS.name}}
    before = len(opa.records())
    decision = opa.decide(stand.request(ISSUER.token(sub="spiffe://example.org/user", act=act)))
    actors = [
        {"issuer": ISSUER.name, "id": "spiffe://example.org/agent"},
        {"issuer": SVIDS.name, "id": "spiffe://example.org/tool"},
    ]
    assert decision["subject"]["actors"] == actors
    assert decision["obligations"][0]["actors"] == actors
    assert opa.records()[before]["result"]["subject"]["actors"] == actors


def test_a_quarantined_actor_denies(opa: stand.Server) -> None:
    token = ISSUER.token(sub="spiffe://example.org/user", act={"sub": "spiffe://example.org/agent"})
    assert who(opa, token)["id"] == "spiffe://example.org/user"
    opa.write(trusted(quarantine=stand.NOBODY | {"subjects": {ISSUER.name: {"spiffe://example.org/agent": {}}}}))
    assert who(opa, token) == ["quarantine.actor"]


@pytest.mark.parametrize("depth", [1, 8, 9, 300])
def test_how_deep_actors_may_be(opa: stand.Server, depth: int) -> None:
    act: Any = None
    for _ in range(depth):
        act = {"sub": "spiffe://example.org/a"} | ({"act": act} if act else {})
    head = {"alg": "EdDSA", "kid": "k1"}
    token = ISSUER.sign(head, ISSUER.claims(act=act))
    found = who(opa, token)
    if len(token) > 8192:
        assert found == ["identity.malformed"]
    elif depth > 8:
        assert found == ["identity.actors"]
    else:
        assert len(found["actors"]) == depth


# Certificates


class Authority:
    """A trust domain's certificate authority, with an intermediate."""

    def __init__(self) -> None:
        self.root_key, self.key = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
        self.root = self.certificate("root", self.root_key, "root", self.root_key, ca=True)
        self.intermediate = self.certificate("intermediate", self.key, "root", self.root_key, ca=True)

    def certificate(
        self,
        name: str,
        key: ed25519.Ed25519PrivateKey,
        issuer: str,
        signer: ed25519.Ed25519PrivateKey,
        *,
        ca: bool = False,
        uris: tuple[str, ...] = (),
        seconds: float = 3600,
    ) -> str:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(seconds=60))
            .not_valid_after(now + datetime.timedelta(seconds=seconds))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not ca, content_commitment=False, key_encipherment=False,
                    data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=ca,
                    encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )
        )  # fmt: skip
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, None).public_bytes(Encoding.PEM).decode()

    def leaf(self, *uris: str, seconds: float = 3600) -> str:
        key = ed25519.Ed25519PrivateKey.generate()
        return self.certificate("leaf", key, "intermediate", self.key, uris=uris, seconds=seconds)


AUTHORITY = Authority()
WEB = "spiffe://example.org/web"


def test_a_forwarded_certificate(opa: stand.Server) -> None:
    chain = [AUTHORITY.leaf(WEB), AUTHORITY.intermediate]
    opa.write(trusted(x509={"example.org": [Authority().root, AUTHORITY.root]}))
    token = ISSUER.token(sub=GATEWAY)
    assert who(opa, token, certificate=chain) == {
        "issuer": "spiffe://example.org", "id": WEB, "domain": "example.org", "actors": [],
        "via": {"issuer": ISSUER.name, "id": GATEWAY},
    }  # fmt: skip
    assert who(opa, token, certificate=chain[:1]) == ["identity.certificate"]
    assert who(opa, token, certificate=[AUTHORITY.leaf(WEB, seconds=-1), chain[1]]) == ["identity.certificate"]
    assert who(opa, token, certificate=[AUTHORITY.leaf(WEB, GATEWAY), chain[1]]) == ["identity.certificate"]
    assert who(opa, token, certificate=[AUTHORITY.leaf("spiffe://other.org/web"), chain[1]]) == ["identity.certificate"]
    assert who(opa, ISSUER.token(sub="spiffe://example.org/api"), certificate=chain) == ["identity.grant"]
    opa.write(trusted(x509={"example.org": [Authority().root]}))
    assert who(opa, token, certificate=chain) == ["identity.certificate"]


def test_an_allow_ends_with_the_certificate(opa: stand.Server) -> None:
    opa.write(trusted(x509={"example.org": [AUTHORITY.root]}))
    identity = {
        "token": ISSUER.token(sub=GATEWAY),
        "certificate": [AUTHORITY.leaf(WEB, seconds=20), AUTHORITY.intermediate],
    }
    decision = opa.decide(stand.request(None, identity=identity))
    until = datetime.datetime.fromisoformat(decision["expires_at"])
    assert 0 < (until - datetime.datetime.now(datetime.UTC)).total_seconds() <= 20


def test_certificates_stay_in_the_record_and_tokens_do_not(opa: stand.Server) -> None:
    opa.write(trusted(x509={"example.org": [AUTHORITY.root]}))
    before = len(opa.records())
    token, chain = ISSUER.token(sub=GATEWAY), [AUTHORITY.leaf(WEB), AUTHORITY.intermediate]
    assert who(opa, token, certificate=chain)["id"] == WEB
    record = opa.records()[before]
    assert record["input"]["identity"]["certificate"] == chain
    assert token not in json.dumps(record)


def test_a_quarantined_gateway_forwards_nobody(opa: stand.Server) -> None:
    quarantine = stand.NOBODY | {"subjects": {ISSUER.name: {GATEWAY: {}}}}
    opa.write(trusted(x509={"example.org": [AUTHORITY.root]}, quarantine=quarantine))
    chain = [AUTHORITY.leaf(WEB), AUTHORITY.intermediate]
    assert who(opa, ISSUER.token(sub=GATEWAY), certificate=chain) == ["quarantine.actor"]


def test_an_asserted_subject_is_recorded_as_such(opa: stand.Server) -> None:
    before = len(opa.records())
    found = who(opa, ISSUER.token(sub=GATEWAY), asserted={"id": "spiffe://example.org/user"})
    assert found["asserted"] is True
    assert found["via"] == {"issuer": ISSUER.name, "id": GATEWAY}
    assert opa.records()[before]["result"]["subject"] == found
    assert who(opa, ISSUER.token(sub=WEB), asserted={"id": "spiffe://example.org/user"}) == ["identity.grant"]
    assert who(opa, ISSUER.token(sub=GATEWAY), asserted={"id": ACCOUNT}) == ["identity.domain"]


def test_how_old_a_token_may_be(opa: stand.Server) -> None:
    opa.write(trusted(max_identity_age_seconds=30))
    now = ISSUER.claims()["iat"]
    assert who(opa, ISSUER.token(sub=WEB))["id"] == WEB
    assert who(opa, ISSUER.token(sub=WEB, iat=now - 31)) == ["identity.stale"]
    assert who(opa, ISSUER.token(sub=WEB, iat=None)) == ["identity.stale"]
    assert who(opa, ISSUER.token(sub=WEB, iat=now + 30)) == ["identity.future"]
