"""What an execution rests on, and each way in which a trust state can take it away."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar import footing
from tests.unit.core.test_x509_roots import leaf, root
from tests.unit.sidecar.test_answers import CLAIMS

NOW = 1_800_000_000
HOME, FAR = "example.org", "partner.example"
ROOT, OTHER_ROOT = root(), root(ec.generate_private_key(ec.SECP256R1()))
TRUST = {
    "domain": HOME,
    "links": {FAR: True},
    "max_identity_age_seconds": None,
    "quarantine": {"subjects": {}, "executions": {}, "domains": {}},
    "issuers": {
        "i": {"domain": HOME, "names": "", "audiences": ["us", "them"], "keys": {"k": {"alg": "EdDSA", "jwks": "1"}}},
        "j": {"domain": FAR, "names": "agent-", "audiences": ["us"], "keys": {}},
        f"spiffe://{HOME}": {"domain": HOME, "names": f"spiffe://{HOME}/", "audiences": ["us"], "keys": {}},
    },
    "grants": {"i": {"a": {"assert-subject": True, "forward-certificate": True}}},
    "warrant": {"revoked": {}, "issuers": {"w": {"domain": HOME, "keys": {"wk": {"alg": "EdDSA", "jwks": "2"}}}}},
    "x509": {HOME: [ROOT]},
}


def token(kid, **claims):
    return jwt.encode({"aud": ["other", "us"], "iat": NOW, **claims}, "k" * 32, headers={"kid": kid})


def changed(*path, to=None):
    """The trust state with one member changed, or removed."""
    *above, last = path
    trust = found = {**TRUST}
    for member in above:
        found[member] = {**found[member]}
        found = found[member]
    if to is None:
        del found[last]
    else:
        found[last] = to
    return trust


PLAIN = footing.of(CLAIMS, {"identity": {"token": token("k")}}, TRUST)
DELEGATED = footing.of(
    {
        **CLAIMS,
        "principals": [["i", "a"], ["j", "agent-1"]],
        "domains": [HOME, FAR],
        "warrants": ["w-1", "w-2"],
        "warrant_issuer": "w",
    },
    {"identity": {"token": token("k")}, "warrant": [token("wk"), token("x")]},
    TRUST,
)
VIA = {"via": {"issuer": "i", "id": "a"}}
ASSERTED = footing.of({**CLAIMS, **VIA, "sub": "bob", "asserted": True}, {"identity": {"token": token("k")}}, TRUST)
WORKLOAD = {"sub": f"spiffe://{HOME}/till", "sub_iss": f"spiffe://{HOME}"}
FORWARDED = footing.of(
    {**CLAIMS, **VIA, **WORKLOAD}, {"identity": {"token": token("k"), "certificate": [leaf()]}}, TRUST
)


@pytest.mark.parametrize("held", [PLAIN, DELEGATED, ASSERTED, FORWARDED])
def test_nothing_is_lost_while_nothing_changes(held):
    assert footing.lost(held, TRUST, NOW) is None
    more = changed("issuers", "i", "keys", to={**TRUST["issuers"]["i"]["keys"], "newer": {}})
    assert footing.lost(held, {**more, "links": {FAR: True, "new.example": True}}, NOW) is None
    assert footing.lost(held, changed("issuers", "i", "audiences", to=["us"]), NOW) is None


OTHER_KEY = {"alg": "EdDSA", "jwks": "3"}
HOMELY = changed("issuers", "j", "domain", to=HOME)
LOST = [
    (PLAIN, changed("issuers", "i"), Reason.IDENTITY_ISSUER_UNKNOWN),
    (PLAIN, changed("issuers", "i", "keys", "k"), Reason.IDENTITY_KEY_UNKNOWN),
    (PLAIN, changed("issuers", "i", "keys", "k", to=OTHER_KEY), Reason.IDENTITY_INVALID),
    (PLAIN, changed("issuers", "i", "audiences", to=["them"]), Reason.IDENTITY_AUDIENCE),
    (PLAIN, changed("issuers", "i", "names", to="b"), Reason.IDENTITY_DOMAIN),
    (PLAIN, changed("issuers", "i", "domain", to=FAR), Reason.IDENTITY_DOMAIN),
    (PLAIN, changed("quarantine", "subjects", to={"i": {"a": {}}}), Reason.QUARANTINE_SUBJECT),
    (PLAIN, changed("quarantine", "domains", to={HOME: {}}), Reason.QUARANTINE_DOMAIN),
    (DELEGATED, changed("quarantine", "subjects", to={"j": {"agent-1": {}}}), Reason.QUARANTINE_ACTOR),
    (DELEGATED, changed("quarantine", "domains", to={FAR: {}}), Reason.QUARANTINE_DOMAIN),
    (DELEGATED, changed("links", to={}), Reason.WARRANT_DOMAIN),
    (DELEGATED, changed("issuers", "j"), Reason.WARRANT_DOMAIN),
    (DELEGATED, changed("warrant", "issuers", "w"), Reason.WARRANT_ISSUER_UNKNOWN),
    (DELEGATED, changed("warrant", "issuers", "w", "keys", "wk"), Reason.WARRANT_KEY_UNKNOWN),
    (DELEGATED, changed("warrant", "issuers", "w", "keys", "wk", to=OTHER_KEY), Reason.WARRANT_INVALID),
    (DELEGATED, changed("warrant", "issuers", "w", "domain", to="odd.example"), Reason.WARRANT_DOMAIN),
    (DELEGATED, changed("warrant", "revoked", to={"w-2": {}}), Reason.WARRANT_REVOKED),
    (ASSERTED, changed("grants", to={}), Reason.IDENTITY_GRANT),
    (ASSERTED, changed("grants", "i", "a", "assert-subject"), Reason.IDENTITY_GRANT),
    (ASSERTED, changed("issuers", "i", "names", to="a"), Reason.IDENTITY_DOMAIN),
    (ASSERTED, changed("issuers", "i", "keys", to={}), Reason.IDENTITY_KEY_UNKNOWN),
    (FORWARDED, changed("grants", "i", "a", "forward-certificate"), Reason.IDENTITY_GRANT),
    (FORWARDED, changed("issuers", "i"), Reason.IDENTITY_ISSUER_UNKNOWN),
    (FORWARDED, changed("issuers", f"spiffe://{HOME}"), Reason.IDENTITY_ISSUER_UNKNOWN),
    (FORWARDED, changed("x509", to={}), Reason.IDENTITY_CERTIFICATE),
    (FORWARDED, changed("x509", HOME, to=[OTHER_ROOT]), Reason.IDENTITY_CERTIFICATE),
    (FORWARDED, changed("issuers", "i", "domain", to="odd.example"), Reason.IDENTITY_DOMAIN),
]


@pytest.mark.parametrize(("held", "trust", "reason"), LOST)
def test_what_is_lost(held, trust, reason):
    assert footing.lost(held, trust, NOW) == reason


def test_roots_may_be_added_and_others_removed():
    assert footing.lost(FORWARDED, changed("x509", HOME, to=[OTHER_ROOT, ROOT]), NOW) is None


def test_an_identity_grows_too_old():
    limited = {**TRUST, "max_identity_age_seconds": 60}
    assert footing.lost(PLAIN, limited, NOW + 59) is None
    assert footing.lost(PLAIN, limited, NOW + 61) == Reason.IDENTITY_STALE
    undated = jwt.encode({"aud": "us"}, "k" * 32, headers={"kid": "k"})
    held = footing.of(CLAIMS, {"identity": {"token": undated}}, TRUST)
    assert footing.lost(held, TRUST, NOW) is None
    assert footing.lost(held, limited, NOW) == Reason.IDENTITY_STALE


def test_workloads_and_actors_are_of_their_issuers_names():
    workload = footing.of({**CLAIMS, **WORKLOAD, "actors": [{"issuer": "i", "id": "bot"}]}, {}, TRUST)
    assert footing.lost(workload, TRUST, NOW) is None
    for trust in (
        changed("issuers", "i", "names", to="a"),
        changed("issuers", "i"),
        changed("issuers", f"spiffe://{HOME}", "names", to=f"spiffe://{HOME}/other"),
        changed("issuers", f"spiffe://{HOME}", "names", to=""),
    ):
        assert footing.lost(workload, trust, NOW) == Reason.IDENTITY_DOMAIN


def test_an_issuer_names_actors_of_its_own_domain_alone():
    """As `rego/placet/identity.rego` has it; the issuer of the actor moves, and the subject's stays."""
    held = footing.of(
        {**CLAIMS, "actors": [{"issuer": "j", "id": "agent-1"}]}, {"identity": {"token": token("k")}}, HOMELY
    )
    assert footing.lost(held, HOMELY, NOW) is None
    assert footing.lost(held, TRUST, NOW) == Reason.IDENTITY_DOMAIN, "the domain of j is linked, and not that of i"


def test_names_of_workloads_are_known_however_they_are_spelt():
    """OPA has one letter for the small of U+0130, and Python two: the trust state may give a plain issuer any names."""
    odd = {"sub": "sp\u0130ffe://example.org/till"}
    held = footing.of({**CLAIMS, **odd}, {"identity": {"token": token("k")}}, TRUST)
    assert footing.lost(held, TRUST, NOW) == Reason.IDENTITY_DOMAIN


def test_what_cannot_be_told_does_not_start():
    with pytest.raises(Denied) as denied:
        footing.of(CLAIMS, {"identity": {"token": "no token"}}, TRUST)
    assert denied.value.reason == Reason.AGENT_FAILED
    request = {"identity": {"token": token("k"), "certificate": [leaf(ec.generate_private_key(ec.SECP256R1()))]}}
    with pytest.raises(Denied) as denied:
        footing.of({**CLAIMS, **VIA, **WORKLOAD}, request, TRUST)
    assert denied.value.reason == Reason.IDENTITY_CERTIFICATE
    held = footing.of(CLAIMS, {"identity": {"token": token("gone")}}, TRUST)
    assert footing.lost(held, TRUST, NOW) == Reason.IDENTITY_KEY_UNKNOWN, "removed while OPA decided"
