import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from app.core.bundle import digest_of
from app.core.errors import Denied
from app.core.governance import Flow, RequiredEnvironment, Revocation, Segment, SegmentedSubjects
from app.core.reason_codes import Reason
from app.core.targets import Grant, PublishedState, QuarantinedName
from app.sidecar.trust_state import Local, compose, from_published
from tests.unit.sidecar import published
from tests.unit.sidecar.published import ED25519, KEY, governance, issuer, signer, subject

SHORT = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
RSA = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
LOCAL = Local("spiffe://example.org/sidecar/payments/one", {"e1": {"alg": "EdDSA", "jwks": "{}"}})


def trust(*issuers, rules=None, **more):
    return from_published(published.state(*issuers, **more), rules or governance())


def state(*issuers, **more):
    return compose(trust(*issuers, **more), LOCAL)


def refused(*issuers, **more):
    with pytest.raises(Denied) as denied:
        trust(*issuers, **more)
    assert denied.value.reason == Reason.METADATA_INVALID
    return denied.value.detail


def root(ca=True, **key_usage):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_the_form_that_the_library_reads():
    made = state(issuer(), quarantine=[subject("a"), subject("b"), subject("a", by="https://other.example.org")])
    trusted = made.trust["issuers"]["https://issuer.example.org"]
    assert {name: value for name, value in trusted.items() if name != "keys"} == {
        "kind": "oidc",
        "domain": "example.org",
        "names": "",
        "audiences": ["payments"],
    }
    assert trusted["keys"]["k1"]["alg"] == "ES256"
    [only] = json.loads(trusted["keys"]["k1"]["jwks"])["keys"]
    assert (only["kid"], only["x"]) == ("k1", KEY["x"])
    subjects = made.trust["quarantine"]["subjects"]
    assert set(subjects["https://issuer.example.org"]) == {"a", "b"}
    assert subjects["https://other.example.org"]["a"] == {"reason": "lost its key", "since": "2026-01-01T00:00:00Z"}


def test_nobody_and_nothing():
    """Every member is there: the library denies on one that is missing."""
    assert state().trust == {
        "system": "payments",
        "domain": "example.org",
        "audience": "spiffe://example.org/system/payments",
        "issuers": {},
        "x509": {},
        "links": {},
        "grants": {},
        "max_identity_age_seconds": None,
        "quarantine": {"subjects": {}, "executions": {}, "domains": {}, "segments": {}},
        "warrant": {"required": False, "issuers": {}, "revoked": {}},
        "environment": {"required": {}, "attesters": {}, "revoked": {}, "results": []},
        "segments": None,
        "workflows": {},
        "execution": {"issuer": LOCAL.sidecar, "keys": {"e1": {"alg": "EdDSA", "jwks": "{}"}}, "headers": {}},
        "modes": {"shadow": [], "break_glass": []},
    }


def test_everything_else_that_is_published():
    names = [
        QuarantinedName(kind=kind, name=f"bad-{kind}", reason="r", since="s")
        for kind in ("execution", "segment", "domain")
    ]
    rules = governance(
        warrant_required=True,
        max_identity_age_seconds=600,
        environment=[RequiredEnvironment(kind="region", max_age_seconds=300, accept={"region": ["eu-1"]})],
        revoked_warrants=[Revocation(id="w", expires_at=7)],
        revoked_results=[Revocation(id="r", expires_at=8)],
    )
    made = trust(
        rules=rules,
        quarantined=names,
        warrant_issuers=[signer()],
        attesters=[signer("https://attester.example.org", {"a1": KEY})],
        links=["partner.example", "example.org"],
        grants=[
            Grant(issuer="i", subject="gateway", grants=["assert-subject"]),
            Grant(issuer="i", subject="gateway", grants=["forward-certificate"]),
        ],
    )
    note = {"reason": "r", "since": "s"}
    quarantine = made["quarantine"]
    assert quarantine["executions"] == {"bad-execution": note}
    assert quarantine["segments"] == {"bad-segment": note}
    assert quarantine["domains"] == {"bad-domain": note}
    assert made["warrant"]["required"] is True
    assert made["warrant"]["revoked"] == {"w": {"expires_at": 7}}
    by = made["warrant"]["issuers"]["spiffe://example.org/control-plane"]
    assert (by["domain"], by["keys"]["w1"]["alg"]) == ("example.org", "EdDSA")
    assert made["environment"]["required"] == {"region": {"max_age_seconds": 300, "accept": {"region": ["eu-1"]}}}
    assert made["environment"]["attesters"]["https://attester.example.org"]["keys"]["a1"]["alg"] == "ES256"
    assert made["environment"]["revoked"] == {"r": {"expires_at": 8}}
    assert made["links"] == {"partner.example": True}, "the home domain is not listed"
    assert made["grants"] == {"i": {"gateway": {"assert-subject": True, "forward-certificate": True}}}
    assert made["max_identity_age_seconds"] == 600


def test_it_is_named_by_its_content(tmp_path):
    made = state(issuer(), quarantine=[subject("a")])
    assert made == state(issuer(), quarantine=[subject("a")])
    assert made.digest != state(issuer()).digest
    made.archive(tmp_path)
    [kept] = tmp_path.iterdir()
    assert digest_of(kept.read_bytes()) == made.digest == f"sha256:{kept.stem}"
    assert json.loads(kept.read_bytes()) == made.trust
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(b"kept as it is")
    made.archive(tmp_path)
    assert kept.read_bytes() == b"kept as it is"


def test_nanoseconds_are_kept_exactly(tmp_path):
    mode = {"id": "m", "from_ns": 1_795_640_195_000_000_001, "until_ns": 1_795_640_195_000_000_003}
    made = compose(trust(issuer()), Local("s", modes={"shadow": [mode], "break_glass": []}))
    made.archive(tmp_path)
    [kept] = tmp_path.iterdir()
    assert json.loads(kept.read_bytes())["modes"]["shadow"] == [mode]


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
    refused(issuer("https://good.example.org"), issuer(keys=keys))
    refused(warrant_issuers=[signer(keys=keys)])
    refused(attesters=[signer(keys=keys)])


def test_warrants_and_results_are_signed_with_two_algorithms():
    assert "RS256" in refused(warrant_issuers=[signer(keys={"r": RSA})])
    assert "RS256" in refused(attesters=[signer(keys={"r": RSA})])
    assert trust(issuer(keys={"r": RSA}))["issuers"], "identities may be RSA"
    assert trust(warrant_issuers=[signer(keys={"a": KEY, "b": ED25519})])["warrant"]["issuers"]


def test_twice():
    refused(issuer(), issuer(audiences=["everything"]))
    refused(warrant_issuers=[signer(), signer()])
    refused(attesters=[signer(), signer()])
    required = RequiredEnvironment(kind="node", max_age_seconds=60)
    refused(rules=governance(environment=[required, required]))


def test_the_audience_is_this_systems():
    assert "warrants for payments" in refused(rules=governance(audience="spiffe://evil.example/system/payments"))


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"kind": "kubernetes"}, "system:serviceaccount:"),
        ({"kind": "kubernetes", "names": "system:serviceaccount:team:"}, "system:serviceaccount:team:"),
        ({"names": "spiffe://example.org/"}, "spiffe://example.org/"),
        ({"names": "spiffe://partner.example/", "domain": "partner.example"}, "spiffe://partner.example/"),
        ({"names": "repo:"}, "repo:"),
    ],
)
def test_what_an_issuer_vouches_for(more, names):
    [trusted] = trust(issuer(**more))["issuers"].values()
    assert trusted["names"] == names
    assert trusted["domain"] == more.get("domain", "example.org")


@pytest.mark.parametrize(
    "more",
    [
        {"names": "spiffe://partner.example/"},  # a domain that is not the issuer's own
        {"names": "spiffe://example.org.evil/"},
        {"names": "SPIFFE://example.org/"},
        {"names": "spiffe:"},
        {"kind": "kubernetes", "names": "spiffe://example.org/"},
        {"kind": "spiffe"},  # its issuer is no trust domain
        {"x509_roots": [root()]},
    ],
)
def test_what_no_issuer_vouches_for(more):
    refused(issuer(**more))


def test_a_spiffe_trust_domain():
    first, second = root(), root()
    made = trust(
        issuer("spiffe://example.org", kind="spiffe", x509_roots=[first]),
        issuer("spiffe://partner.example", kind="spiffe", domain="partner.example", x509_roots=[second]),
    )
    assert made["issuers"]["spiffe://example.org"]["names"] == "spiffe://example.org/"
    assert made["x509"] == {"example.org": [first], "partner.example": [second]}
    refused(issuer("spiffe://partner.example", kind="spiffe"))  # not the domain that it says
    refused(issuer("spiffe://example.org", kind="spiffe", names="spiffe://partner.example/"))
    refused(issuer("spiffe://example.org", kind="spiffe", x509_roots=[first, root(ca=False)]))


def test_segments_for_look_up():
    rules = governance(
        segments=[
            Segment(
                name="front",
                subjects=[
                    SegmentedSubjects(issuer="i", subject="web"),
                    SegmentedSubjects(issuer="i", subject="web-*"),
                    SegmentedSubjects(issuer="i", subject="*"),
                ],
            ),
            Segment(
                name="vault",
                subjects=[SegmentedSubjects(issuer="i", subject="web-admin-*")],
                resources=["key/1", "key/secret-*"],
            ),
        ],
        flows=[
            Flow(source="front", target="vault", actions=["read"]),
            Flow(source="front", target="vault", actions=["list-*"]),
        ],
    )
    assert trust(rules=rules)["segments"] == {
        "subjects": {"i": {"web": "front"}},
        "subject_prefixes": {
            "i": [
                {"prefix": "web-admin-", "segment": "vault"},
                {"prefix": "web-", "segment": "front"},
                {"prefix": "", "segment": "front"},
            ]
        },
        "resources": {"key/1": "vault"},
        "resource_prefixes": [{"prefix": "key/secret-", "segment": "vault"}],
        "flows": {"front": {"vault": ["read", "list-*"]}},
    }


def test_nothing_belongs_to_two_segments():
    one = [Segment(name="a", resources=["key/*"]), Segment(name="b", resources=["key/*"])]
    assert "key/* is in the segments a and b" in refused(rules=governance(segments=one))
    who = SegmentedSubjects(issuer="i", subject="x")
    refused(rules=governance(segments=[Segment(name="a", subjects=[who]), Segment(name="b", subjects=[who])]))
    refused(rules=governance(segments=[Segment(name="a"), Segment(name="a")]))


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"domain": ""},
        {"quarantine": None},
        {"issuers": [{"issuer": "x", "audiences": [], "keys": {"k": KEY}}]},
        {"issuers": [{"issuer": "", "audiences": ["a"], "keys": {"k": KEY}}]},
        {"issuers": [{"issuer": "x", "kind": "ldap", "audiences": ["a"], "keys": {"k": KEY}}]},
        {"quarantine": [{"issuer": "x", "subject": "", "reason": "", "since": ""}]},
        {"quarantine": [{"issuer": "x", "subject": 1, "reason": "", "since": ""}]},
        {"quarantine": [{"issuer": "x", "subject": "y", "reason": "", "since": "", "until": "tomorrow"}]},
        {"quarantined": [{"kind": "everyone", "name": "y", "reason": "", "since": ""}]},
        {"grants": [{"issuer": "x", "subject": "y", "grants": ["everything"]}]},
    ],
)
def test_a_published_document_of_another_form(change):
    document = {"domain": "example.org", "quarantine": [], "issuers": [], **change}
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


def test_a_key_of_a_spiffe_domain_is_not_listed_and_keeps_its_header_from_others():
    domain = issuer("spiffe://example.org", kind="spiffe")
    assert "headers" not in state(domain).trust
    assert "headers" not in state(issuer(), domain).trust
    assert "headers" in state(issuer(kind="kubernetes")).trust


def test_headers_are_left_out_of_a_state_that_would_grow_too_large():
    keys = {f"k{number}": KEY for number in range(64)}
    many = [issuer(f"https://{number}.example.org/{'x' * 1000}", dict(keys)) for number in range(1, 3)]
    assert "headers" in state(issuer(keys=keys)).trust
    large = state(issuer(f"https://1.example.org/{'x' * 1500}", {f"a{number}": KEY for number in range(64)}))
    assert "headers" not in large.trust
    assert "headers" not in state(*many).trust


def test_what_opa_would_not_take_is_refused():
    many = [subject(f"{number}-{'x' * 1000}") for number in range(110)]
    assert "larger than OPA takes" in refused(issuer(), quarantine=many)
