"""One warrant: its claims, its signature, and reading what anybody may have written."""

import json
import time

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core import holder_keys, strict_json
from app.core.errors import Denied, PlacetError, UsageError
from app.core.reason_codes import Reason
from app.core.statements import STATEMENT
from app.core.warrant_chain import read_chain, verify_chain
from app.core.warrant_request import APPROVAL, WarrantRequest, approval_statement
from app.core.warrants import MAX_TOKEN, Principal, mint, parse_claims, read
from tests.soon import soon

from .chains import AUDIENCE, ISSUER, NOW, PLANE, ROOT_KEY, TRUST, claims, root, segment, token

REQUEST = {
    "subject": {"issuer": ISSUER, "id": "job-17"},
    "actor": {"issuer": ISSUER, "id": "agent"},
    "actions": ["refund"],
    "resources": ["payment/*"],
    "constraints": {"amount": {"at_most": 100}},
    "lifetime_seconds": 900,
    "uses": 1,
    "reason": "ticket 12",
}


def sign_with(key):
    """A key that lies elsewhere: it gives JWS signatures, and nothing else."""
    return lambda message: jwt.algorithms.get_default_algorithms()[key.alg].sign(message, key.private)


@pytest.mark.parametrize("alg", ["EdDSA", "ES256"])
def test_a_minted_warrant_verifies_with_another_library_and_reads_back(alg):
    key = holder_keys.generate(alg)
    now = int(time.time())
    times = {"iat": now, "nbf": now, "exp": now + 600}
    said = parse_claims(claims(**times, uses=3, constraints={"host": {"in": ["a.example", 1, True]}}))
    text = mint(said, sign_with(key), alg=alg, kid="k1")
    assert jwt.get_unverified_header(text) == {"alg": alg, "kid": "k1", "typ": "warrant+jwt"}
    assert jwt.decode(text, key.private.public_key(), algorithms=[alg], audience=AUDIENCE) == said.document()
    found = read(text)
    assert (found.claims, found.alg, found.kid) == (said, alg, "k1")


def test_a_signature_that_is_no_jws_signature_is_refused():
    with pytest.raises(PlacetError, match="70 bytes"):
        mint(parse_claims(claims()), lambda message: b"x" * 70, alg="ES256", kid="k1")
    with pytest.raises(UsageError, match="EdDSA and ES256"):
        mint(parse_claims(claims()), lambda message: b"x" * 64, alg="RS256", kid="k1")


def test_a_warrant_that_no_decision_would_take_is_not_minted():
    long = parse_claims(claims(resources=[f"payment/{'x' * 480}{number}" for number in range(20)]))
    with pytest.raises(UsageError, match=f"at most {MAX_TOKEN}"):
        mint(long, sign_with(ROOT_KEY), alg="EdDSA", kid="k1")


def test_who_holds_it():
    said = parse_claims(claims(act={"iss": "https://agents.example", "sub": "bot"}))
    assert said.subject == Principal(issuer=ISSUER, id="job-17")
    assert said.holder == said.actor == Principal(issuer="https://agents.example", id="bot")
    assert parse_claims(claims()).holder == said.subject


MALFORMED = {
    "no iss": {"iss": None},
    "an empty sub": {"sub": ""},
    "another sub in sub_id": {"sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "other"}},
    "another format of sub_id": {"sub_id": {"format": "opaque", "iss": ISSUER, "sub": "job-17"}},
    "more in sub_id": {"sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "job-17", "x": 1}},
    "an act of two levels": {"act": {"iss": "i", "sub": "a", "act": {"iss": "i", "sub": "b"}}},
    "an act without iss": {"act": {"sub": "a"}},
    "no audience": {"aud": []},
    "an empty audience": {"aud": ""},
    "an empty audience among others": {"aud": [AUDIENCE, ""]},
    "iat as text": {"iat": "1"},
    "iat true": {"iat": True},
    "iat negative": {"iat": -1},
    "exp beyond RFC 3339": {"exp": 253402300800},
    "exp with a fraction": {"exp": NOW + 60.5},
    "exp beyond floats": {"exp": 1e300},
    "nbf not before exp": {"nbf": NOW + 600, "exp": NOW + 600},
    "iat not before exp": {"exp": NOW},
    "an empty jti": {"jti": ""},
    "a long jti": {"jti": "x" * 65},
    "a jti with a newline": {"jti": "x\n"},
    "a jti with a look-alike": {"jti": "p\u0430yment"},
    "no actions": {"actions": []},
    "33 actions": {"actions": [f"a{number}" for number in range(33)]},
    "an empty action": {"actions": [""]},
    "an inner star": {"actions": ["re*ad"]},
    "two stars": {"actions": ["read**"]},
    "an action that is no text": {"actions": [1]},
    "actions as text": {"actions": "refund"},
    "resources as an object": {"resources": {"payment": "*"}},
    "constraints as a list": {"constraints": []},
    "an empty constraint": {"constraints": {"amount": {}}},
    "an unknown constraint": {"constraints": {"amount": {"less": 1}}},
    "a bound that is no number": {"constraints": {"amount": {"at_most": "100"}}},
    "a bound that is true": {"constraints": {"amount": {"at_most": True}}},
    "an empty list": {"constraints": {"host": {"in": []}}},
    "null in a list": {"constraints": {"host": {"in": [None]}}},
    "a list beside a bound": {"constraints": {"host": {"in": [1], "at_most": 1}}},
    "65 values": {"constraints": {"host": {"in": list(range(65))}}},
    "our own word for in": {"constraints": {"host": {"one_of": [1]}}},
    "uses 0": {"uses": 0},
    "uses 1.5": {"uses": 1.5},
    "depth 9": {"depth": 9},
    "depth -1": {"depth": -1},
    "depth true": {"depth": True},
    "a cnf without jwk": {"cnf": {"kid": "k"}},
    "a cnf with more": {"cnf": {"jwk": ROOT_KEY.jwk, "kid": "k"}},
    "a private key": {"cnf": {"jwk": ROOT_KEY.jwk | {"d": "AAAA"}}},
    "a symmetric key": {"cnf": {"jwk": {"kty": "oct", "k": "AAAA"}}},
    "another curve": {"cnf": {"jwk": {"kty": "OKP", "crv": "X25519", "x": ROOT_KEY.jwk["x"]}}},
    "no point": {"cnf": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}}},
    "an unknown claim": {"scope": "everything"},
}


@pytest.mark.parametrize("changes", MALFORMED.values(), ids=MALFORMED)
def test_claims_of_another_form_are_malformed(changes):
    with pytest.raises(Denied) as denied:
        read(root(**changes))
    assert denied.value.reason == Reason.WARRANT_MALFORMED
    assert "\n" not in str(denied.value)


def test_a_whole_number_may_be_written_with_a_point():
    said = read(root(exp=float(NOW + 60), uses=2.0, depth=1.0)).claims
    assert (said.exp, said.uses, said.depth) == (NOW + 60, 2, 1)


@pytest.mark.parametrize("name", ["act", "nbf", "constraints", "uses", "depth", "cnf"])
def test_null_is_no_value(name):
    with pytest.raises(Denied, match=f"{name} is null"):
        read(token(claims() | {name: None}, ROOT_KEY, kid="k1"))


HEADERS = {
    "none": {"alg": "none"},
    "HMAC": {"alg": "HS256"},
    "an algorithm of identities": {"alg": "RS256"},
    "alg a list": {"alg": ["EdDSA"]},
    "no typ": {"typ": None},
    "another typ": {"typ": "JWT"},
    "typ in capitals": {"typ": "WARRANT+JWT"},
    "a key of its own": {"jwk": ROOT_KEY.jwk},
    "a critical header": {"crit": ["exp"]},
    "an unencoded payload": {"b64": False},
    "a numeric kid": {"kid": 1},
    "a nested type": {"cty": "JWT"},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_of_another_form_are_malformed(header):
    with pytest.raises(Denied) as denied:
        read(token(claims(), ROOT_KEY, **({"kid": "k1"} | header)))
    assert denied.value.reason == Reason.WARRANT_MALFORMED


def test_a_claim_that_stands_twice_is_malformed():
    head, _, signature = root().split(".")
    twice = json.dumps(claims())[:-1] + ', "depth": 8, "depth": 0}'
    with pytest.raises(Denied, match="stands twice"):
        read(f"{head}.{segment(twice.encode())}.{signature}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["alg", "kid", "typ", "iss", "sub", "sub_id", "act", "aud", "iat", "nbf", "exp", "jti", "actions", "resources"]
NAMES += ["constraints", "uses", "depth", "cnf"]
JUNK = (
    st.text(max_size=200)
    | st.text(alphabet="ey.AZ09_-=", max_size=200)
    | st.lists(st.binary(max_size=60).map(segment), min_size=3, max_size=3).map(".".join)
    | st.lists(st.binary(max_size=60).map(segment), max_size=5).map(".".join)
    | st.builds(
        lambda changes, header: token(claims() | changes, ROOT_KEY, **header),
        st.dictionaries(st.sampled_from(NAMES[3:]) | st.text(max_size=5), JSON, max_size=3),
        st.dictionaries(st.sampled_from(NAMES[1:3]), JSON, max_size=2),
    )
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(JUNK, max_size=4))
def test_junk_denies_and_never_raises_anything_else(tokens):
    for act in (read_chain, lambda chain: verify_chain(chain, TRUST, AUDIENCE, time.time())):
        denied = denial(act, tokens)
        assert denied is None or str(denied.reason).startswith("warrant.")
        assert denied is None or str(denied).isprintable()


def denial(act, tokens):
    try:
        act(tokens)
    except Denied as denied:
        return denied
    return None


def test_deep_and_large_tokens_cost_nothing():
    head = root().split(".")[0]
    deep = f"{head}.{segment(b'[' * 5000)}.AAAA"
    large = f"{head}.{'A' * 2_000_000}.AAAA"
    for text in (deep, large, "." * 100_000):
        with soon(), pytest.raises(Denied):
            read(text)


# ---- requests and approvals -----------------------------------------------------------------------------------


def test_a_request_becomes_the_claims_that_it_asks_for():
    request = WarrantRequest.model_validate(REQUEST)
    said = request.claims(issuer=PLANE, jti="w1", audience=AUDIENCE, now=1000)
    assert said.document() == {
        "iss": PLANE,
        "sub": "job-17",
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "job-17"},
        "act": {"iss": ISSUER, "sub": "agent"},
        "aud": AUDIENCE,
        "iat": 1000,
        "exp": 1900,
        "jti": "w1",
        "actions": ["refund"],
        "resources": ["payment/*"],
        "constraints": {"amount": {"at_most": 100}},
        "uses": 1,
    }
    assert request.document() == REQUEST


@pytest.mark.parametrize(
    "changes",
    [
        {"lifetime_seconds": 0},
        {"lifetime_seconds": 90 * 86400 + 1},
        {"lifetime_seconds": "900"},
        {"actions": ["a*b"]},
        {"resources": []},
        {"subject": {"issuer": ISSUER, "id": ""}},
        {"subject": {"issuer": ISSUER, "id": "x", "sub": "y"}},
        {"cnf": {"jwk": ROOT_KEY.jwk | {"d": "AAAA"}}},
        {"depth": 9},
        {"id": "mine"},
    ],
)
def test_a_request_of_another_form_is_refused(changes):
    with pytest.raises(ValidationError):
        WarrantRequest.model_validate(REQUEST | changes)


def test_an_approver_signs_the_digest_of_everything_that_the_warrant_will_allow():
    request = WarrantRequest.model_validate(REQUEST)
    statement = strict_json.load_object(approval_statement("payments", "w1", request))
    assert (statement["_type"], statement["predicateType"]) == (STATEMENT, APPROVAL)
    (subject,) = statement["subject"]
    assert "sha256:" + subject["digest"]["sha256"] == request.digest("payments", "w1")
    assert statement["predicate"] == {"system": "payments", "warrant": "w1", "request": REQUEST}
    digests = {request.digest("payments", "w1"), request.digest("payments", "w2"), request.digest("refunds", "w1")}
    for name, other in {"lifetime_seconds": 901, "actions": ["refund*"], "uses": 2, "depth": 1}.items():
        digests.add(WarrantRequest.model_validate(REQUEST | {name: other}).digest("payments", "w1"))
    assert len(digests) == 7
