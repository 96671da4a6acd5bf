"""A system's governance, linked domains, grants and quarantines of every kind: published before they are answered."""

import json
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from app.control import attestation_basis, attestation_results, governance, issuer_keys
from app.control.governance_document import GovernanceDocument
from app.control.problems import Invalid
from app.control.store import AttestationResult
from app.core.governance import SystemGovernance
from app.core.targets import MAX_STATE, PublishedState
from app.sidecar.trust_state import from_published

from .test_releases import target
from .test_trust import ED25519, P256, RSA, add_issuer, public

ISSUER = "https://tokens.example.org"
SEGMENTS = [
    {"name": "front", "subjects": [{"issuer": ISSUER, "subject": "web-*"}], "resources": []},
    {"name": "money", "subjects": [], "resources": ["payment/*"]},
]
FULL = {
    "warrant_required": True,
    "max_identity_age_seconds": 600,
    "environment": [{"kind": "region", "max_age_seconds": 300, "accept": {"region": ["eu-1"]}}],
    "segments": SEGMENTS,
    "flows": [{"source": "front", "target": "money", "actions": ["read", "refund"]}],
    "approval": {"required": True, "approvers": [{"identity": "lead@example.org", "issuer": "https://accounts.x"}]},
    "exchange": [
        {
            "issuer": ISSUER,
            "subject": "agent-*",
            "actor": {"issuer": ISSUER, "subject": "tool"},
            "actions": ["refund"],
            "resources": ["payment/*"],
            "constraints": {"amount": {"at_most": 100}},
            "max_lifetime_seconds": 900,
            "uses": 1,
            "depth": 2,
        }
    ],
}


@pytest.fixture
def api(api):
    api.create_system()
    return api


def put(api, document, version=0, **more):
    return api.put("/api/v1/systems/payments/governance", json={"document": document, "version": version, **more})


def test_what_is_refused_names_its_place_in_plain_words(api):
    for answer, member, field in (
        (put(api, {"exchnage": []}), "exchnage", "exchnage"),
        (put(api, {"flows": [{**FULL["flows"][0], "via": "x"}]}), "flows.0.via", "flows.0.via"),
        (put(api, {}, more="x"), "more", "body.more"),
    ):
        assert answer.status_code == 422
        said = answer.json()
        assert (said["detail"], said["field"]) == (f"{member}: there is no such member", field)
    who = [{"identity": "dev@example.org", "issuer": "https://accounts.x"}]
    named = api.post("/api/v1/systems", json={"name": "Not One", "identities": who}).json()
    assert (named["detail"], named["field"]) == (
        "name: must be at most 63 lower-case letters, digits and hyphens, with no hyphen at either end, "
        "such as payments-eu",
        "body.name",
    )


def published(api, system="payments"):
    return SystemGovernance.model_validate_json(target(api.client, f"{system}.governance.json"))


def state(api):
    return PublishedState.model_validate_json(target(api.client, "state.json"))


def test_a_system_has_its_governance_from_the_start(api):
    assert published(api) == SystemGovernance(system="payments", audience="spiffe://placet.internal/system/payments")
    assert api.get("/api/v1/systems/payments/governance").json()["version"] == 0
    own = state(api)
    assert own.domain == "placet.internal"
    assert [signer.issuer for signer in own.warrant_issuers + own.attesters] == [
        "spiffe://placet.internal/control-plane"
    ] * 2
    assert api.get("/api/v1/systems/none/governance").status_code == 404


def test_what_sidecars_need_is_published_and_the_rest_stays_here(api):
    answer = put(api, FULL)
    assert (answer.status_code, answer.json()["version"], answer.json()["changed"]) == (200, 1, True), answer.text
    found = published(api)
    assert (found.warrant_required, found.max_identity_age_seconds) == (True, 600)
    assert found.environment[0].accept == {"region": ["eu-1"]}
    assert [segment.name for segment in found.segments] == ["front", "money"]
    assert found.flows[0].actions == ["read", "refund"]
    text = target(api.client, "payments.governance.json").decode()
    assert "lead@example.org" not in text
    assert "max_lifetime_seconds" not in text
    shown = api.get("/api/v1/systems/payments/governance").json()["document"]
    assert shown["exchange"][0]["constraints"] == {"amount": {"at_most": 100}}
    assert shown["evidence"]["lifetime_seconds"] == 300, "defaults are written out"


def test_masking_rules_are_published_and_reach_the_trust_state(api):
    rules = [{"path": "input/context/card"}, {"path": "result/subject/id", "how": "hash"}]
    assert put(api, {"masking": rules}).status_code == 200
    assert [rule.how for rule in published(api).masking] == ["remove", "hash"]
    assert taken(api)["masking"]["input"] == [{"path": ["context", "card"], "how": "remove"}]


def test_workflows_are_published_and_what_they_demand_reaches_the_trust_state(api):
    layout = {"steps": [{"name": "check", "expected_products": [["CREATE", "*"]]}, {"name": "pay"}]}
    pay = {"layout": layout, "required_for": {"actions": ["refund"], "resources": ["payment/*"]}}
    assert put(api, {"workflows": {"pay": pay, "free": {"layout": layout}}}).status_code == 200
    found = published(api).workflows
    assert [step.name for step in found["pay"].layout.steps] == ["check", "pay"]
    trusted = taken(api)["workflows"]
    assert {name: (one["actions"], one["resources"]) for name, one in trusted.items()} == {
        "pay": (["refund"], ["payment/*"]),
        "free": ([], []),
    }
    assert trusted["pay"]["declared"] == f"sha256:{sha256(found['pay'].encode()).hexdigest()}"


def test_two_people_do_not_overwrite_each_other(api):
    assert put(api, FULL).status_code == 200
    late = put(api, {"warrant_required": False})
    assert (late.status_code, late.json()["version"]) == (409, 1)
    assert published(api).warrant_required
    assert put(api, {"warrant_required": False}, version=1).json()["version"] == 2
    assert not published(api).warrant_required
    same = put(api, {}, version=2).json()
    assert (same["version"], same["changed"]) == (2, False), "the same again is no new version"
    versions = api.get("/api/v1/systems/payments/governance/versions").json()
    assert [one["version"] for one in versions] == [2, 1]
    assert versions[1]["document"]["warrant_required"]


def test_a_dry_run_changes_nothing(api):
    answer = put(api, FULL, dry_run=True).json()
    assert answer["version"] == 0
    assert answer["proposed"]["warrant_required"] is True
    assert answer["document"]["warrant_required"] is False
    assert not published(api).warrant_required
    assert put(api, {"flows": [{}]}, dry_run=True).status_code == 422


def test_a_dry_run_meets_the_conflict_that_the_real_one_would_meet(api):
    put(api, {"warrant_required": True})
    late, real = (put(api, {}, dry_run=dry_run) for dry_run in (True, False))
    assert (late.status_code, late.json()["version"]) == (409, 1)
    assert late.json()["detail"] == real.json()["detail"]
    assert put(api, {"warrant_required": True}, dry_run=True).status_code == 200, "the same again changes nothing"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"warrant_require": True}, "warrant_require: there is no such member"),
        ({"warrant_required": "yes"}, "warrant_required"),
        ({"max_identity_age_seconds": 1}, "max_identity_age_seconds"),
        ({"environment": [{"kind": "moon", "max_age_seconds": 60}]}, "environment.0.kind"),
        ({"environment": [{"kind": "node", "max_age_seconds": 60}] * 2}, "node stands twice"),
        ({"segments": SEGMENTS + SEGMENTS[:1]}, "front stands twice"),
        ({"segments": [{**SEGMENTS[0], "name": "a"}, {**SEGMENTS[0], "name": "b"}]}, "web-* of https://tokens"),
        ({"segments": [{"name": "a", "resources": ["payment"]}]}, "'payment' must be TYPE/ID"),
        ({"segments": [{"name": "a", "resources": ["p*/x"]}]}, "segments.0.resources.0"),
        ({"segments": SEGMENTS, "flows": [{"source": "front", "target": "x", "actions": ["a"]}]}, "no segment x"),
        ({"segments": SEGMENTS, "flows": FULL["flows"] * 2}, "from front to money stands twice"),
        ({"approval": {"required": True}}, "nobody may approve"),
        ({"masking": [{"path": "context/card"}]}, "must begin with input/ or result/"),
        ({"masking": [{"path": "input/a"}, {"path": "input/a", "how": "hash"}]}, "input/a stands twice"),
        ({"masking": [{"path": "input/a", "how": "blur"}]}, "masking.0.how"),
        (
            {"exchange": [{**FULL["exchange"][0], "constraints": {"amount": {"at_most": "1"}}}]},
            "exchange.0.constraints",
        ),
        ({"exchange": [{**FULL["exchange"][0], "max_lifetime_seconds": 0}]}, "max_lifetime_seconds"),
        ({"evidence": {"tokens": [{"issuer": "i", "audience": "a"}]}}, "node, region or both"),
        ({"evidence": {"tokens": [{"issuer": "i", "audience": "a", "node": {"ear.status": "sub"}}]}}, "ear.status"),
        ({"evidence": {"attesters": [{"issuer": "i", "jwks": {}, "posture": {"a": "b"}}]}}, "JWK set"),
        ({"evidence": {"attesters": [{"issuer": "i", "jwks": {}}]}}, "posture, verifier or both"),
        ({"workflows": {"a b": {"layout": {"steps": [{"name": "x"}]}}}}, "workflows.a b"),
        ({"workflows": {"a": {"layout": {"steps": []}}}}, "workflows.a.layout.steps"),
        ({"workflows": {"a": {"layout": {"steps": [{"name": "x"}, {"name": "x"}]}}}}, "the step x stands twice"),
        ({"workflows": {"a": {"layout": {"steps": [{"name": "x"}], "keys": {"k": {}}}}}}, "steps are signed by"),
        (
            {
                "workflows": {
                    "a": {
                        "layout": {"steps": [{"name": "x"}]},
                        "required_for": {"actions": ["*"], "resources": ["payment"]},
                    }
                }
            },
            "'payment' must be TYPE/ID",
        ),
        ({"approval": {"approvers": [{"identity": "a\nb", "issuer": "i"}]}}, "line breaks"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_that_names_the_place(api, document, said):
    answer = put(api, document)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert api.get("/api/v1/systems/payments/governance").json()["version"] == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*GovernanceDocument.model_fields, "name", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*GovernanceDocument.model_fields, "x"]), json_values))
def test_any_document_is_taken_whole_or_refused_in_one_line(document):
    said, parsed = "", None
    try:
        parsed = governance.parse(document)
    except Invalid as refused:
        said = str(refused)
    assert "\n" not in said
    assert (parsed is None) == bool(said)
    if parsed is not None:
        assert GovernanceDocument.model_validate(parsed.model_dump(mode="json")) == parsed


def test_it_needs_its_scope_and_its_own_system(api):
    api.create_system("other")
    reader = api.with_token("system:read")
    assert put(reader, FULL).status_code == 403
    bound = api.with_token("governance:write", system="other")
    assert put(bound, FULL).status_code == 403
    assert bound.put("/api/v1/systems/other/governance", json={"document": {}, "version": 0}).status_code == 200


def test_governance_and_state_fit_into_one_request_to_opa_together(api):
    subjects = [{"issuer": ISSUER, "subject": f"{number:03}{'x' * 300}"} for number in range(130)]
    large = {"segments": [{"name": "a", "subjects": subjects}]}
    assert put(api, large).status_code == 200
    body = target(api.client, "payments.governance.json")
    assert len(body) < MAX_STATE
    for number in range(60):
        entry = {"issuer": "i" * 400, "subject": f"{number:03}{'s' * 400}", "reason": "r" * 400}
        answer = api.post("/api/v1/quarantine", json=entry)
        if answer.status_code != 201:
            break
    assert (answer.status_code, "governance of payments" in answer.json()["detail"]) == (409, True)
    assert len(target(api.client, "state.json")) + len(body) <= MAX_STATE
    assert put(api, {}, version=1).status_code == 200, "what is too much can be taken back"
    assert api.post("/api/v1/quarantine", json=entry).status_code == 201


def test_domains_are_linked_with_what_their_control_plane_exports(api):
    own = api.get("/api/v1/domains/own").json()
    assert (own["domain"], own["signer"]) == ("placet.internal", "spiffe://placet.internal/control-plane")
    assert own["warrant_jwks"]["keys"][0]["crv"] == "Ed25519"
    link = {"domain": "partner.example", "warrant_jwks": {"keys": [public(ED25519)]}}
    assert api.post("/api/v1/domains", json=link).status_code == 201
    found = state(api)
    assert found.links == ["partner.example"]
    assert [(one.issuer, one.domain, list(one.keys)) for one in found.warrant_issuers[1:]] == [
        ("spiffe://partner.example/control-plane", "partner.example", ["k1"])
    ]
    assert len(found.attesters) == 1, "only what was given is taken"
    again = {"domain": "partner.example", "signer": "https://pdp.partner.example"}
    assert api.post("/api/v1/domains", json=again | {"attestation_jwks": {"keys": [public(P256)]}}).status_code == 200
    found = state(api)
    assert (len(found.warrant_issuers), found.attesters[1].issuer) == (1, "https://pdp.partner.example")
    assert [one["domain"] for one in api.get("/api/v1/domains").json()] == ["partner.example"]
    assert api.delete("/api/v1/domains", params={"domain": "partner.example"}).status_code == 204
    assert state(api).links == []
    assert api.delete("/api/v1/domains", params={"domain": "partner.example"}).status_code == 404


@pytest.mark.parametrize(
    "link",
    [
        {"domain": "placet.internal"},
        {"domain": "Partner.example"},
        {"domain": "a/b"},
        {"domain": "partner.example", "signer": "spiffe://placet.internal/control-plane"},
        {"domain": "partner.example", "warrant_jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k"}]}},
        {"domain": "partner.example", "warrant_jwks": {"keys": []}},
    ],
)
def test_links_that_cannot_be_are_refused(api, link):
    assert api.post("/api/v1/domains", json=link).status_code == 422
    assert state(api).links == []


def test_grants_add_up_and_are_taken_back(api):
    assert add_issuer(api, public(P256)).status_code == 201
    who = {"issuer": ISSUER, "subject": "gateway"}
    first = api.post("/api/v1/grants", json=who | {"grants": ["forward-certificate"]})
    assert (first.status_code, first.json()["issuer_trusted"]) == (201, True)
    assert api.post("/api/v1/grants", json=who | {"grants": ["assert-subject"]}).status_code == 201
    assert api.post("/api/v1/grants", json=who | {"grants": ["assert-subject"]}).status_code == 200
    assert state(api).grants[0].grants == ["assert-subject", "forward-certificate"]
    assert api.delete("/api/v1/grants", params=who | {"grant": "assert-subject"}).status_code == 204
    assert state(api).grants[0].grants == ["forward-certificate"]
    assert api.delete("/api/v1/grants", params=who | {"grant": "assert-subject"}).status_code == 404
    assert api.delete("/api/v1/grants", params=who).status_code == 204
    assert state(api).grants == []
    assert api.post("/api/v1/grants", json=who | {"grants": ["everything"]}).status_code == 422
    unknown = api.post("/api/v1/grants", json={"issuer": "i", "subject": "s", "grants": ["assert-subject"]})
    assert unknown.json()["issuer_trusted"] is False


@pytest.mark.parametrize(
    ("kind", "name"), [("execution", "0b6f2a"), ("segment", "front"), ("domain", "partner.example")]
)
def test_executions_segments_and_domains_can_be_quarantined(api, kind, name):
    answer = api.post("/api/v1/quarantine", json={kind: name, "reason": "odd"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["segment_known" if kind == "segment" else "kind"] in (False, kind)
    (entry,) = state(api).quarantined
    assert (entry.kind, entry.name, entry.reason) == (kind, name, "odd")
    assert state(api).quarantine == []
    assert api.post("/api/v1/quarantine", json={kind: name, "reason": "other"}).status_code == 200
    assert [one["name"] for one in api.get("/api/v1/quarantine").json()] == [name]
    assert api.delete("/api/v1/quarantine", params={kind: name}).status_code == 200
    assert state(api).quarantined == []
    gone = api.delete("/api/v1/quarantine", params={kind: name})
    assert (gone.status_code, f"the {kind} {name}" in gone.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"issuer": "i"},
        {"subject": "s"},
        {"issuer": "i", "subject": "s", "domain": "d"},
        {"domain": "d", "segment": "s"},
    ],
)
def test_a_quarantine_names_one_thing(api, entry):
    assert api.post("/api/v1/quarantine", json=entry | {"reason": "r"}).status_code == 422
    assert api.delete("/api/v1/quarantine", params=entry).status_code == 422


def test_results_that_were_revoked_are_published_until_they_would_have_expired(api, plane):
    earlier = {"type": "eat", "issuer": "a", "kid": "k1", "claims": {"posture": {"a": "b"}}, "sidecar": None}
    at = datetime.now(UTC)
    [key] = issuer_keys.vet({"keys": [public(ED25519)]}).values()
    basis = {**earlier, **attestation_basis.of_key("k1", key), "issued_at": int(at.timestamp()) + 60}

    def result(name, minutes, basis=basis):
        return AttestationResult(
            id=name,
            system="payments",
            sidecar="one",
            subject="spiffe://placet.internal/sidecar/payments/one",
            submods={"posture": {"ear.status": "affirming", "a": "x"}},
            basis=[basis],
            issued_at=at - timedelta(minutes=10),
            expires_at=at + timedelta(minutes=minutes),
        )

    attester = {"issuer": "a", "jwks": {"keys": [public(ED25519)]}, "posture": {"a": "b"}}
    assert put(api, {"evidence": {"attesters": [attester]}}).status_code == 200
    with plane.publishing() as session:
        session.add_all([result("in-force", 5), result("over", -5), result("other", 5)])
        session.add(result("of-an-earlier-version", 4, earlier))
        session.flush()
        attestation_results.revoke(session, "payments", "in-force", "somebody said so")
        attestation_results.revoke(session, "payments", "over", "somebody said so")
    assert [one.id for one in published(api).revoked_results] == ["in-force", "of-an-earlier-version"]
    # What rests on evidence that counts no longer is revoked with the change itself.
    other_key = {**attester, "jwks": {"keys": [public(ed25519.Ed25519PrivateKey.generate(), kid="k2")]}}
    assert put(api, {"evidence": {"attesters": [other_key]}}, version=1).status_code == 200
    assert [one.id for one in published(api).revoked_results] == ["in-force", "of-an-earlier-version", "other"]
    listed = {one["id"]: one["revoked_because"] for one in api.get("/api/v1/systems/payments/environment").json()}
    unfounded = dict.fromkeys(("of-an-earlier-version", "other"), "the evidence is no longer accepted")
    assert listed == {"in-force": "somebody said so", **unfounded}
    assert api.delete("/api/v1/systems/payments/environment/none").status_code == 404


def test_a_release_name_cannot_hide_a_governance_document(api):
    """Targets of different kinds never share a path: names of systems have no dots."""
    assert api.post("/api/v1/systems", json={"name": "payments.governance", "identities": []}).status_code == 422
    assert json.loads(target(api.client, "payments.governance.json"))["system"] == "payments"


def taken(api, system="payments"):
    """What a sidecar makes of what is published: it refuses all of a state that it does not take."""
    return from_published(state(api), published(api, system))


def test_nobody_can_fill_the_room_that_quarantine_needs(api):
    """Neither keys nor governance nor revoked warrants may use what is kept for denying somebody."""
    revoker, until = api.with_token("warrant:revoke", system="payments"), int(time.time()) + 3600
    subjects = [{"issuer": ISSUER, "subject": f"{number:03}{'x' * 240}"} for number in range(150)]
    assert put(api, {"segments": [{"name": "a", "subjects": subjects}]}).status_code == 200
    for number in range(500):
        path = f"/api/v1/systems/payments/warrants/{'w' * 58}{number:04}"
        answer = revoker.delete(path, params={"expires_at": until})
        if answer.status_code != 200:
            break
    assert (answer.status_code, "the governance of payments" in answer.json()["detail"]) == (409, True)
    keys = [public(ed25519.Ed25519PrivateKey.generate(), kid=f"k{number}") for number in range(50)]
    assert add_issuer(api, *keys).status_code == 201, "keys that all systems need are taken all the same"
    for number in range(12):
        entry = {"issuer": ISSUER, "subject": f"{number}" + "s" * 500, "reason": "r" * 1000}
        assert api.post("/api/v1/quarantine", json=entry).status_code == 201
    assert len(taken(api)["quarantine"]["subjects"][ISSUER]) == 12


def test_whatever_the_control_plane_takes_its_sidecars_take(api):
    """Short names in a segment of a long name grow on the way into OPA, and so do keys."""
    long = {"name": "s" * 63, "resources": [f"t/{number}*" for number in range(256)]}
    segments, version = [long], 0
    while put(api, {"segments": segments}, version).status_code == 200:
        version += 1
        segments.append(long | {"name": f"{len(segments):02}" + "s" * 61, "resources": []})
        segments[-1]["resources"] = [f"u{len(segments)}/{number}*" for number in range(256)]
    assert version >= 2
    assert taken(api)["segments"]["resource_prefixes"]
    keys = [public(ed25519.Ed25519PrivateKey.generate(), kid=f"k{number}") for number in range(64)]
    for number in range(20):
        if add_issuer(api, *keys, issuer=f"https://{number}.example.org").status_code == 409:
            break
    assert number < 19
    for number in range(60):
        entry = {"issuer": ISSUER, "subject": f"{number}" + "s" * 500, "reason": "r" * 1000}
        if api.post("/api/v1/quarantine", json=entry).status_code == 409:
            break
    assert 10 < number < 59
    assert taken(api)["issuers"]


@pytest.mark.parametrize(
    "link",
    [
        {"domain": "b.example", "warrant_jwks": {"keys": [public(RSA)]}},
        {"domain": "b.example", "attestation_jwks": {"keys": [public(ec.generate_private_key(ec.SECP384R1()))]}},
        {"domain": "b.example", "signer": "spiffe://a.example/control-plane"},
    ],
)
def test_a_link_that_sidecars_would_refuse_is_refused(api, link):
    assert api.post("/api/v1/domains", json={"domain": "a.example"}).status_code == 201
    assert api.post("/api/v1/domains", json=link).status_code == 422
    assert taken(api)["links"] == {"a.example": True}
