"""Modes at the control plane: published until they end, shown everywhere; real signatures are in tests/integration."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from app.control.store import Mode
from app.core import modes
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.governance import SystemGovernance
from app.core.instant import written
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity

from .conftest import DEVELOPER, OTHER, record
from .test_releases import target
from .test_sidecars import STATUS
from .test_web import logged_in, page

AUDIENCE = "spiffe://placet.internal/system/payments"
PATH = "/api/v1/systems/payments/modes"
GLASS = {"subjects": [{"issuer": "i", "id": "s"}], "actions": ["refund"], "resources": ["payment/*"]}


@pytest.fixture
def api(api, plane):
    def verify(raw, *, subject, policy, step):
        statement = json.loads(raw)
        signer = SignerIdentity(**statement.pop("signer"))
        if signer not in policy.identities:
            raise Denied(Reason.EVIDENCE_IDENTITY, f"signed by {signer.identity}", step=step)
        assert subject == modes.subject_of(AUDIENCE)
        return VerifiedStatement(statement["predicateType"], statement, signer, datetime.now(UTC), raw)

    object.__setattr__(plane, "verify_statement", verify)
    api.create_system(shadow=[DEVELOPER], break_glass=[DEVELOPER, OTHER])
    return api


def evidence(identifier, kind=modes.SHADOW, signers=(DEVELOPER,), hours=1, starts=0, **more):
    at = datetime.now(UTC) + timedelta(hours=starts)
    predicate = {"system": AUDIENCE, "id": identifier, "reason": f"why {identifier}", "from": written(at), **more}
    predicate["until"] = written(at + timedelta(hours=hours))
    statement = {"subject": [{}], "predicateType": kind, "predicate": predicate}
    return {"evidence": [json.dumps(statement | {"signer": signer}) for signer in signers]}


def sent(api):
    document = SystemGovernance.model_validate_json(target(api.client, "payments.governance.json"))
    return [(one.kind, len(one.evidence)) for one in document.modes]


def test_modes_are_published_until_they_end_or_are_ended(api, plane):
    body = evidence("s1")
    assert api.post(PATH, json=body).status_code == 201
    assert api.post(PATH, json=body).status_code == 200
    glass = evidence("g1", modes.BREAK_GLASS, (DEVELOPER, OTHER), starts=2, **GLASS)
    assert api.post(PATH, json=glass).json()["condition"] == "to come"
    assert sent(api) == [("shadow", 1), ("break-glass", 2)]
    assert [one["id"] for one in api.get("/api/v1/systems/payments").json()["modes"]] == ["s1", "g1"]

    other = evidence("s1", hours=2)
    answer = api.post(PATH, json=other)
    assert (answer.status_code, "under a new id" in answer.json()["detail"]) == (409, True)
    assert api.delete(f"{PATH}/g1").json()["condition"] == "ended"
    assert api.post(PATH, json=glass).status_code == 409, "ended is ended"
    assert sent(api) == [("shadow", 1)]

    with plane.publishing() as session:
        session.get(Mode, ("payments", "s1")).ends_at = datetime.now(UTC) - timedelta(seconds=1)
    assert sent(api) == [], "the next publication leaves out what is over"
    assert {one["id"]: one["condition"] for one in api.get(PATH).json()} == {"s1": "over", "g1": "ended"}
    assert api.delete(f"{PATH}/s1").status_code == 409
    assert api.delete(f"{PATH}/none").status_code == 404


def test_no_more_than_sidecars_take(api):
    for number in range(4):
        assert api.post(PATH, json=evidence(f"s{number}")).status_code == 201
    assert api.post(PATH, json=evidence("s4")).status_code == 409
    assert api.delete(f"{PATH}/s0").status_code == 200
    assert api.post(PATH, json=evidence("s4")).status_code == 201


def test_what_does_not_verify_is_not_kept(api):
    answer = api.post(PATH, json=evidence("g1", modes.BREAK_GLASS, (DEVELOPER,), **GLASS))
    assert (answer.status_code, answer.json()["reason"]) == (422, "mode.invalid")
    for body in ({}, {"evidence": []}, {"evidence": ["{}"] * 5}, {"evidence": ["x" * 32769]}, {"evidence": [7]}):
        assert api.post(PATH, json=body).status_code == 422
    reader = api.with_token("system:read")
    assert reader.post(PATH, json=evidence("s1")).status_code == 403
    assert api.get(PATH).json() == []


def test_every_page_shows_a_mode_to_those_whom_it_concerns(api, anonymous):
    api.create_system("other")
    assert api.post(PATH, json=evidence("s1")).status_code == 201
    browser = logged_in(anonymous, api.token)
    for path in (
        "/decisions",
        "/systems",
        "/systems/payments",
        "/systems/other",
        "/sidecars",
        "/issuers",
        "/quarantine",
        "/keeping",
    ):
        assert "why s1" in page(browser, path).text, path
    assert "why s1" in page(browser, "/nowhere", status=404).text
    bound = logged_in(anonymous, api.with_token("decision:read", system="other").token)
    assert "why s1" not in page(bound, "/decisions").text
    api.delete(f"{PATH}/s1")
    browser = logged_in(anonymous, api.token)
    assert "why s1" not in page(browser, "/decisions").text
    assert "why s1" in page(browser, "/systems/payments").text, "what was stays to be seen"


def test_sidecars_say_which_modes_they_honour(api, anonymous):
    honoured = [{"kind": "shadow", "id": "s1", "until": "2026-01-31T12:00:00Z"}]
    path = "/api/v1/systems/payments/sidecars/one/status"
    assert api.post(path, json=STATUS | {"modes": honoured}).status_code == 200
    assert api.get("/api/v1/systems/payments/sidecars").json()[0]["modes"] == honoured
    assert "until <" in page(logged_in(anonymous, api.token), "/sidecars").text.replace("until 2026", "until <2026")
    assert api.post(path, json=STATUS | {"modes": honoured * 5}).status_code == 422
    assert api.post(path, json=STATUS).status_code == 200, "a sidecar without modes says nothing of them"


def decision(**result):
    subject = {
        "issuer": "https://i",
        "id": "job-17",
        "domain": "d",
        "actors": [{"issuer": "https://i", "id": "tool-3"}],
    }
    whole = {"allow": True, "reasons": [], "obligations": [], "bundles": {}, "subject": subject, "state": "sha256:x"}
    return whole | {"warrant": {"ids": ["w-root", "w-hop"], "issuer": "x"}, "execution": "e-1", "mode": None} | result


MODE = {"kind": "shadow", "id": "s1", "reasons": [{"code": "policy.denied", "message": "Denied by the policy."}]}


def test_uses_of_a_mode_are_found_and_shown(api, anonymous):
    lines = record("d1", result=decision(mode=MODE)) + record("d2", result=decision())
    lines += record("d3", result=decision(mode=MODE | {"kind": "break-glass"}))
    assert api.ship(lines).status_code == 200

    def found(**wanted):
        return {one["decision_id"] for one in api.get("/api/v1/decisions", params=wanted).json()["items"]}

    assert 'placet_mode_uses_total{mode="shadow",system="payments"} 1.0' in api.get("/metrics").text
    assert found(mode="shadow") == {"d1"}
    assert found(mode="break-glass") == {"d3"}
    assert found(mode="any") == {"d1", "d3"}
    assert found(execution="e-1") == {"d1", "d2", "d3"}
    assert found(text="w-hop") == {"d1", "d2", "d3"}
    assert found(text="tool-3", mode="any") == {"d1", "d3"}
    assert api.get("/api/v1/decisions", params={"mode": "x"}).status_code == 422
    shown = api.get("/api/v1/decisions/d1").json()
    assert (shown["outcome"], shown["mode"], shown["reasons"]) == ("allow", "shadow", ["policy.denied"])
    browser = logged_in(anonymous, api.token)
    text = page(browser, "/decisions/d1").text
    for said in ("Allowed under shadow", "s1", "Denied by the policy.", "tool-3", "w-root", "e-1"):
        assert said in text, said
    assert "/decisions/d2" not in page(browser, "/decisions?mode=any").text
    assert page(browser, "/decisions?execution=e-1&mode=").text.count("/decisions/d") == 3


def test_starts_of_executions_are_decisions(api, anonymous):
    """The record of `placet/start` holds the decision as a part of its result."""
    start = {"decision": decision(execution="e-9"), "claims": {"sub": "job-17"}, "expires_at_ns": None, "redeem": []}
    denied = decision(allow=False, subject=None, reasons=[{"code": "warrant.missing", "message": "m"}])
    asked = {"action": {"name": "refund"}, "resource": {"type": "a", "id": "b"}, "execution": {"id": "e-9"}}
    lines = record("d1", path="placet/start", result=start, input=asked)
    lines += record("d2", path="placet/start", result=start | {"decision": denied, "claims": None}, input=asked)
    lines += record("d3", path="placet/start", result={"decision": 7}, input=asked)
    assert api.ship(lines).status_code == 200
    rows = {one["decision_id"]: one for one in api.get("/api/v1/decisions").json()["items"]}
    assert (rows["d1"]["outcome"], rows["d1"]["execution"], rows["d1"]["subject"]["id"]) == ("allow", "e-9", "job-17")
    assert (rows["d2"]["outcome"], rows["d2"]["reasons"]) == ("deny", ["warrant.missing"])
    assert (rows["d3"]["outcome"], rows["d3"]["reasons"]) == ("deny", ["decision.malformed"])
    text = page(logged_in(anonymous, api.token), "/decisions/d2").text
    assert "warrant.missing" in text


@pytest.mark.parametrize(
    "result",
    [
        {"mode": 7},
        {"mode": {"kind": ["x"], "reasons": 7}},
        {"mode": {"kind": "x" * 99, "id": None, "reasons": [{}]}},
        {"execution": {"a": 1}, "warrant": [1], "subject": {"actors": {}}},
        {"subject": {"id": "s", "actors": [7, {"id": None}]}, "warrant": {"ids": 7}},
    ],
)
def test_odd_members_lose_no_record_and_no_page(api, anonymous, result):
    assert api.ship(record("d1", result=decision(**result))).status_code == 200
    assert api.get("/api/v1/decisions/d1").status_code == 200
    page(logged_in(anonymous, api.token), "/decisions/d1")
    page(logged_in(anonymous, api.token), "/decisions?mode=any")
