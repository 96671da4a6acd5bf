"""Chains: every rule with its own reason code, and no chain that `verify_chain` takes ever widens."""

import dataclasses
import json
from itertools import pairwise

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import holder_keys
from app.core.delegation import Delegation, delegate
from app.core.errors import Denied, UsageError
from app.core.holder_keys import algorithm_of, thumbprint
from app.core.reason_codes import Reason
from app.core.targets import PublishedState
from app.core.warrant_chain import ChainDenied, verify_chain
from app.core.warrant_scope import Constraint, covers, covers_resource, violated
from app.core.warrant_trust import Signer, WarrantTrust
from app.core.warrants import Principal

from .chains import (
    AGENTS,
    AUDIENCE,
    HOME,
    ISSUER,
    NOW,
    OTHER_KEY,
    PARTNER,
    PLANE,
    ROOT_KEY,
    TRUST,
    Hand,
    claims,
    hop,
    root,
    token,
)

ALICE = Hand("alice")
BOB = Hand(f"spiffe://{PARTNER}/bob", AGENTS, holder_keys.generate("ES256"))
CAROL = Hand("carol")


def denied(chain, trust=TRUST, audience=AUDIENCE, at=None):
    with pytest.raises(Denied) as found:
        verify_chain(chain, trust, audience, NOW if at is None else at)
    return found.value


def test_a_chain_over_two_domains_and_two_algorithms_stands():
    bounds = {"amount": {"at_most": 10}}
    chain = [
        root(ALICE, constraints={"amount": {"at_most": 100}}, uses=5),
        hop(ALICE, BOB, actions=["read:a*"], constraints=bounds, exp=NOW + 300),
        hop(BOB, CAROL, actions=["read:a"], constraints=bounds, exp=NOW + 200, depth=0, cnf=None, uses=2),
    ]
    verified = verify_chain(chain, TRUST, AUDIENCE, NOW)
    assert verified.ids == ["root", "to-bob", "to-carol"]
    assert verified.issuer == PLANE
    assert verified.holder == Principal(issuer=ISSUER, id="carol")
    assert verified.expires_at == NOW + 200
    assert verified.counted == {"root": 5, "to-carol": 2}
    assert verified.denials("read:a", ("payment", "p-1"), {"amount": 10}) == []
    asked = verified.denials("refund", ("invoice", "i-1"), {})
    assert [one.reason for one in asked] == [
        Reason.WARRANT_ACTION,
        Reason.WARRANT_RESOURCE,
        Reason.WARRANT_CONSTRAINT,
    ]


def test_a_chain_has_one_to_nine_warrants():
    hands = [Hand(f"h{number}") for number in range(10)]
    chain = [root(hands[0], depth=8)]
    chain += [hop(hands[n], hands[n + 1], depth=7 - n) for n in range(8)]
    assert len(verify_chain(chain, TRUST, AUDIENCE, NOW).ids) == 9
    assert denied([*chain, hop(hands[8], hands[9])]).reason == Reason.WARRANT_MALFORMED
    assert denied([]).reason == Reason.WARRANT_MALFORMED


ROOTS = {
    "an unknown issuer": (lambda: root(iss="https://other.example"), Reason.WARRANT_ISSUER_UNKNOWN),
    "an unknown key": (lambda: root(kid="k9"), Reason.WARRANT_KEY_UNKNOWN),
    "no key": (lambda: root(kid=None), Reason.WARRANT_KEY_UNKNOWN),
    "another algorithm": (lambda: root(key=OTHER_KEY), Reason.WARRANT_ALGORITHM),
    "another key": (lambda: root(key=holder_keys.generate()), Reason.WARRANT_INVALID),
    "another system": (lambda: root(aud="spiffe://example.org/system/refunds"), Reason.WARRANT_AUDIENCE),
    "expired": (lambda: root(exp=NOW - 1, iat=NOW - 100), Reason.WARRANT_EXPIRED),
    "not begun": (lambda: root(nbf=NOW + 60), Reason.WARRANT_NOT_YET_VALID),
    "of the future": (lambda: root(iat=NOW + 60), Reason.WARRANT_NOT_YET_VALID),
    "an unknown holder's issuer": (
        lambda: root(sub_id={"format": "iss_sub", "iss": "https://nobody.example", "sub": "job-17"}),
        Reason.WARRANT_DOMAIN,
    ),
    "a holder of a domain that is not linked": (
        lambda: root(sub_id={"format": "iss_sub", "iss": "https://stranger.example", "sub": "job-17"}),
        Reason.WARRANT_DOMAIN,
    ),
    "an actor of a domain that is not linked": (
        lambda: root(act={"iss": "https://stranger.example", "sub": "bot"}),
        Reason.WARRANT_DOMAIN,
    ),
}


@pytest.mark.parametrize(("make", "reason"), ROOTS.values(), ids=ROOTS)
def test_a_root_that_does_not_stand(make, reason):
    assert denied([make()]).reason == reason


def test_an_issuer_of_a_domain_that_is_not_linked_is_not_trusted():
    key = holder_keys.generate()
    issuers = {"https://w.stranger.example": Signer("stranger.example", TRUST.issuers[PLANE].keys)}
    trust = dataclasses.replace(TRUST, issuers=issuers)
    assert denied([root(iss="https://w.stranger.example")], trust).reason == Reason.WARRANT_ISSUER_UNKNOWN
    assert denied([root(key=key)], trust).reason == Reason.WARRANT_ISSUER_UNKNOWN


def test_a_revoked_warrant_takes_the_chain_with_it():
    chain = [root(ALICE), hop(ALICE, BOB)]
    for jti in ("root", "to-bob"):
        assert denied(chain, dataclasses.replace(TRUST, revoked=frozenset({jti}))).reason == Reason.WARRANT_REVOKED


HOPS = {
    "made by another": ({"iss": "mallory"}, Reason.WARRANT_SUBJECT, "iss"),
    "another action": ({"actions": ["delete"]}, Reason.WARRANT_WIDENED, "actions"),
    "a wider action": ({"actions": ["refund*"]}, Reason.WARRANT_WIDENED, "actions"),
    "every action": ({"actions": ["*"]}, Reason.WARRANT_WIDENED, "actions"),
    "another resource": ({"resources": ["payment/*", "invoice/1"]}, Reason.WARRANT_WIDENED, "resources"),
    "a dropped constraint": ({"constraints": {}}, Reason.WARRANT_WIDENED, "constraints"),
    "a looser constraint": ({"constraints": {"amount": {"at_most": 101}}}, Reason.WARRANT_WIDENED, "constraints"),
    "a constraint of another kind": ({"constraints": {"amount": {"in": [1]}}}, Reason.WARRANT_WIDENED, "constraints"),
    "another audience": ({"aud": [AUDIENCE, "spiffe://x/system/y"]}, Reason.WARRANT_WIDENED, "aud"),
    "a later end": ({"exp": NOW + 10_000}, Reason.WARRANT_WIDENED, "exp"),
    "an earlier beginning": ({"nbf": NOW - 200}, Reason.WARRANT_WIDENED, "nbf"),
    "an approval of its own": ({"approval": "sha256:" + "0" * 64}, Reason.WARRANT_WIDENED, "approval"),
    "no beginning": ({"nbf": None}, Reason.WARRANT_WIDENED, "nbf"),
    "the same depth": ({"depth": 3}, Reason.WARRANT_DEPTH, "depth"),
    "the same id": ({"jti": "root"}, Reason.WARRANT_MALFORMED, "jti"),
}


@pytest.mark.parametrize(("changes", "reason", "field"), HOPS.values(), ids=HOPS)
def test_a_hop_that_is_wider_says_which_member(changes, reason, field):
    same = {"constraints": {"amount": {"at_most": 100}}, "nbf": NOW - 100}
    parent = root(ALICE, **same)
    assert verify_chain([parent, hop(ALICE, BOB, **same)], TRUST, AUDIENCE, NOW)
    found = denied([parent, hop(ALICE, BOB, **(same | changes))])
    assert (found.reason, found.field) == (reason, field)


def test_a_hop_after_depth_0_or_without_a_key_is_none():
    assert denied([root(ALICE, depth=0), hop(ALICE, BOB, depth=0)]).reason == Reason.WARRANT_DEPTH
    assert denied([root(ALICE, depth=None), hop(ALICE, BOB, depth=0)]).reason == Reason.WARRANT_DEPTH
    assert denied([root(ALICE, cnf=None), hop(ALICE, BOB)]).reason == Reason.WARRANT_INVALID


def test_a_hop_is_signed_by_the_key_that_the_one_before_names():
    chain = [root(ALICE), hop(ALICE, BOB)]
    mallory = Hand(ALICE.name)
    assert denied([chain[0], hop(mallory, BOB)]).reason == Reason.WARRANT_INVALID
    assert denied([chain[0], hop(Hand(ALICE.name, key=BOB.key), BOB)]).reason == Reason.WARRANT_ALGORITHM
    assert denied([chain[1]]).reason == Reason.WARRANT_ISSUER_UNKNOWN
    assert denied([chain[0], hop(BOB, CAROL)]).reason in (Reason.WARRANT_ALGORITHM, Reason.WARRANT_INVALID)
    assert denied(chain[::-1]).reason == Reason.WARRANT_ISSUER_UNKNOWN


def test_an_actor_is_who_delegates():
    act = {"iss": AGENTS, "sub": BOB.name}
    held = root(None, act=act, cnf=BOB.cnf, depth=1)
    assert verify_chain([held, hop(BOB, CAROL, depth=0)], TRUST, AUDIENCE, NOW)
    by_subject = token(claims("carol", iss="job-17", jti="h", depth=0), BOB.key)
    assert denied([held, by_subject]).reason == Reason.WARRANT_SUBJECT


def test_a_changed_byte_denies():
    chain = [root(ALICE), hop(ALICE, BOB)]
    for position, text in enumerate(chain):
        for at in range(len(text) - 2 - 40, len(text) - 2, 7):
            changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            assert denied([*chain[:position], changed, *chain[position + 1 :]]).reason == Reason.WARRANT_INVALID


def test_hmac_with_a_public_key_is_no_signature():
    secret = ROOT_KEY.jwk["x"].encode()
    forged = jwt.encode(claims(), secret, algorithm="HS256", headers={"kid": "k1", "typ": "warrant+jwt"})
    assert denied([forged]).reason == Reason.WARRANT_MALFORMED


@pytest.mark.parametrize(("offset", "reason"), [(0, Reason.WARRANT_EXPIRED), (-0.001, None), (-601, None)])
def test_time_has_edges(offset, reason):
    end = NOW + 600
    chain = [root(exp=end, iat=NOW - 1)]
    if reason:
        assert denied(chain, at=end + offset).reason == reason
    else:
        assert verify_chain(chain, TRUST, AUDIENCE, end + offset)


def test_all_reasons_are_said_in_the_order_of_the_table():
    found = denied([root(exp=NOW - 1, iat=NOW - 2, aud="x", sub_id={"format": "iss_sub", "iss": "y", "sub": "job-17"})])
    assert isinstance(found, ChainDenied)
    assert [one.reason for one in found.denials] == [
        Reason.WARRANT_AUDIENCE,
        Reason.WARRANT_EXPIRED,
        Reason.WARRANT_DOMAIN,
    ]
    assert found.reason == Reason.WARRANT_AUDIENCE


# ---- whom to trust ---------------------------------------------------------------------------------------------


def test_a_set_of_keys_with_its_issuer_is_enough_to_verify():
    document = b'{"issuer": "%s", "keys": [%s]}' % (PLANE.encode(), _jwk("k1"))
    trust = WarrantTrust.load(document, "trust.json")
    assert trust.holders is None
    assert verify_chain([root()], trust, AUDIENCE, NOW).ids == ["root"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "not JSON"),
        (b"{}", "issuer"),
        (b'{"issuer": "x", "keys": []}', "keys"),
        (b'{"issuer": "x", "keys": [{"kid": "1", "kty": "oct", "k": "AAAA"}]}', "private"),
        (b'{"issuer": "x", "keys": [{"kid": "1"}], "more": 1}', "more"),
        (b'{"domain": "d", "issuers": []}', "issuers"),
    ],
)
def test_a_trust_document_of_another_form_is_refused(document, said):
    with pytest.raises(UsageError, match=said) as refused:
        WarrantTrust.load(document, "trust.json")
    assert str(refused.value).startswith("trust.json: ")


def test_two_keys_of_one_id_are_refused():
    with pytest.raises(UsageError, match="same kid"):
        WarrantTrust.load(b'{"issuer": "x", "keys": [%s, %s]}' % (_jwk("k1"), _jwk("k1")), "trust.json")


def test_the_published_state_says_whom_to_trust():
    state = PublishedState.model_validate(
        {
            "domain": HOME,
            "quarantine": [],
            "issuers": [
                {"issuer": ISSUER, "audiences": ["a"], "keys": {}},
                {"issuer": AGENTS, "kind": "spiffe", "domain": PARTNER, "audiences": ["a"], "keys": {}},
            ],
            "warrant_issuers": [{"issuer": PLANE, "domain": HOME, "keys": {"k1": ROOT_KEY.jwk}}],
            "links": [PARTNER],
        }
    )
    trust = WarrantTrust.of_state(state, frozenset({"gone"}))
    chain = [root(ALICE), hop(ALICE, BOB)]
    assert verify_chain(chain, trust, AUDIENCE, NOW).ids == ["root", "to-bob"]
    assert denied([root(jti="gone")], trust).reason == Reason.WARRANT_REVOKED


def _jwk(kid):
    return json.dumps(ROOT_KEY.jwk | {"kid": kid}).encode()


# ---- delegating ------------------------------------------------------------------------------------------------

TO_BOB = Delegation(Principal(issuer=AGENTS, id=BOB.name))


def test_what_is_not_said_stays_as_it_is():
    parent = root(ALICE, constraints={"amount": {"at_most": 100}}, nbf=NOW - 10)
    chain = [parent, delegate([parent], ALICE.key, TO_BOB, now=NOW)]
    verified = verify_chain(chain, TRUST, AUDIENCE, NOW)
    before, after = verified.warrants
    kept = ("actions", "resources", "constraints", "aud", "nbf", "exp")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert (after.iss, after.further, after.cnf, after.uses) == ("alice", 0, None, None)
    assert after.jti != before.jti


def test_a_long_chain_is_delegated_from_hand_to_hand():
    hands = [Hand(f"h{number}", key=holder_keys.generate(("EdDSA", "ES256")[number % 2])) for number in range(9)]
    chain = [root(hands[0], depth=8)]
    for number, (giver, taker) in enumerate(pairwise(hands)):
        changes = Delegation(
            Principal(issuer=ISSUER, id=taker.name),
            depth=7 - number,
            holder_key=taker.key.jwk,
            lifetime_seconds=500 - number,
        )
        chain.append(delegate(chain, giver.key, changes, now=NOW))
    assert verify_chain(chain, TRUST, AUDIENCE, NOW).holder.id == "h8"
    with pytest.raises(UsageError, match="at most 9"):
        delegate(chain, hands[8].key, TO_BOB, now=NOW)


WIDER = {
    "actions": {"actions": ["refund", "delete"]},
    "resources": {"resources": ["*"]},
    "constraints": {"constraints": {"amount": Constraint(at_most=101)}},
    "aud": {"audience": "spiffe://example.org/system/other"},
    "exp": {"lifetime_seconds": 5000},
    "nbf": {"not_before": NOW - 1000},
    "depth": {"depth": 3, "holder_key": BOB.key.jwk},
    "uses": {"uses": 6},
}


@pytest.mark.parametrize("field", WIDER)
def test_nothing_wider_is_signed_and_the_line_names_the_member(field):
    parent = root(ALICE, constraints={"amount": {"at_most": 100}}, nbf=NOW - 10, uses=5)
    with pytest.raises(Denied) as found:
        delegate([parent], ALICE.key, dataclasses.replace(TO_BOB, **WIDER[field]), now=NOW)
    assert found.value.field == field
    assert field in found.value.detail
    assert found.value.reason in (Reason.WARRANT_WIDENED, Reason.WARRANT_DEPTH)


def test_what_cannot_be_delegated_says_why():
    with pytest.raises(UsageError, match="names no key"):
        delegate([root()], ALICE.key, TO_BOB, now=NOW)
    with pytest.raises(UsageError, match=f"the key given is {thumbprint(BOB.key.jwk)}"):
        delegate([root(ALICE)], BOB.key, TO_BOB, now=NOW)
    with pytest.raises(Denied, match="depth 0"):
        delegate([root(ALICE, depth=0)], ALICE.key, TO_BOB, now=NOW)
    with pytest.raises(Denied, match="expired"):
        delegate([root(ALICE, iat=NOW - 9, exp=NOW - 5)], ALICE.key, TO_BOB, now=NOW)
    with pytest.raises(Denied, match="does not verify"):
        delegate([root(ALICE), hop(Hand("alice"), BOB)], BOB.key, TO_BOB, now=NOW)
    with pytest.raises(UsageError, match="actions"):
        delegate([root(ALICE)], ALICE.key, dataclasses.replace(TO_BOB, actions=["a*b"]), now=NOW)


PATTERNS = st.lists(st.sampled_from(["refund", "read*", "read:a", "re*", "*", "delete"]), min_size=1, max_size=2)
PLACES = st.lists(st.sampled_from(["payment/*", "payment/p-1", "*", "pay*", "invoice/1"]), min_size=1, max_size=2)
BOUNDS = st.dictionaries(
    st.sampled_from(["amount", "host"]),
    st.sampled_from([{"at_most": 1}, {"at_most": 2}, {"at_least": 1}, {"in": ["a"]}, {"in": ["a", 1]}]),
    max_size=2,
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "actions": PATTERNS,
        "resources": PLACES,
        "constraints": BOUNDS,
        "exp": st.sampled_from([NOW + 300, NOW + 600, NOW + 900]),
        "nbf": st.sampled_from([NOW - 10, NOW - 5]),
        "depth": st.integers(0, 3),
        "aud": st.sampled_from([AUDIENCE, [AUDIENCE], [AUDIENCE, "spiffe://x/system/y"]]),
    },
)
ASKED = [
    (action, resource, context)
    for action in ("refund", "read", "read:a", "delete", "x")
    for resource in (("payment", "p-1"), ("payment", "p-2"), ("invoice", "1"), ("payments", ""))
    for context in ({}, {"amount": 1, "host": "a"}, {"amount": 3}, {"amount": "a", "host": 1})
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(CHANGES, st.lists(CHANGES, min_size=1, max_size=3))
def test_no_chain_that_verifies_widens(first, further):
    """Well signed hops with any changes: what stands allows no request that an earlier warrant does not."""
    hands = [Hand("h0", key=ALICE.key), Hand("h1", key=BOB.key), Hand("h2", key=ALICE.key), Hand("h3", key=BOB.key)]
    chain = [root(hands[0], **first)]
    for number, changes in enumerate(further):
        chain.append(hop(hands[number], hands[number + 1], **({"depth": 2 - number} | changes)))
    try:
        verified = verify_chain(chain, TRUST, AUDIENCE, NOW)
    except Denied:
        return
    assert verified.expires_at == verified.last.exp
    for action, resource, context in ASKED:
        if not verified.denials(action, resource, context):
            for one in verified.warrants:
                assert covers(one.actions, action)
                assert covers_resource(one.resources, *resource)
                assert violated(one.constraints or {}, context) is None


def test_the_algorithm_is_that_of_the_key():
    assert [algorithm_of(ALICE.key.jwk), algorithm_of(BOB.key.jwk)] == ["EdDSA", "ES256"]
