import json

import pytest

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar.answers import OWN_CLAIMS, decision_id, read_decision, read_start, refused
from app.sidecar.opa_api import Answer

SUBJECT = {"issuer": "i", "id": "a", "domain": "example.org", "actors": []}
ALLOW = {"allow": True, "reasons": [], "obligations": [], "bundles": {}, "subject": SUBJECT, "state": "sha256:1"}
DENY = {**ALLOW, "allow": False, "reasons": [{"code": "policy.denied", "message": "no"}]}
CLAIMS = {
    "sub": "a",
    "sub_iss": "i",
    "domain": "example.org",
    "actors": [],
    "claims": {},
    "principals": [["i", "a"]],
    "domains": ["example.org"],
    "warrants": [],
    "actions": ["*"],
    "resources": ["*"],
    "constraints": {},
}
START = {"decision": ALLOW, "claims": CLAIMS, "expires_at_ns": 1_795_640_195_999_999_999, "redeem": []}
REDEEM = {"jti": "w-1", "issuer": "spiffe://example.org/control-plane", "uses": 1, "expires_at": 1_795_640_000}


def without(name):
    return {other: value for other, value in CLAIMS.items() if other != name}


def answer(result, status=200):
    return Answer(status, json.dumps({"result": result, "decision_id": "d-1"}).encode())


def reason(read, *answers):
    for one in answers:
        with pytest.raises(Denied) as denied:
            read(one)
        yield denied.value.reason


def test_decisions():
    assert read_decision(answer(ALLOW)) == ALLOW
    assert read_decision(answer(DENY)) == DENY
    told = {**ALLOW, "reasons": [{"code": "policy:late", "message": "soon"}]}
    assert read_decision(answer(told)) == told


def test_an_answer_without_a_decision():
    bodies = (b"{}", b'{"result": null}', b'{"result": {}}', b'{"result": []}', b"[]", b"null")
    for read in (read_decision, read_start):
        assert set(reason(read, *(Answer(200, body) for body in bodies))) == {Reason.DECISION_UNDEFINED}
        assert set(reason(read, Answer(500, b""), Answer(503, b"{}"))) == {Reason.EVALUATION_ERROR}
        number = b'{\n  "code": "internal_error",\n  "message": "invalid number: number too big"\n}'
        assert set(reason(read, Answer(500, number))) == {Reason.REQUEST_MALFORMED}
        assert set(reason(read, Answer(400, b"{}"), Answer(401, b""))) == {Reason.REQUEST_MALFORMED}
        assert set(reason(read, Answer(200, b"junk"), Answer(200, b"[" * 9999))) == {Reason.DECISION_MALFORMED}


@pytest.mark.parametrize(
    "change",
    [
        {"allow": 1},
        {"allow": "true"},
        {"allow": None},
        {"reasons": [{"code": "policy.denied", "message": "no"}]},
        {"reasons": None},
        {"reasons": [{"code": "policy:x"}]},
        {"obligations": {}},
        {"obligations": ["x"]},
        {"subject": "a"},
        {"allow": False},
    ],
)
def test_a_decision_of_another_form(change):
    [found] = reason(read_decision, answer({**ALLOW, **change}))
    assert found == Reason.DECISION_MALFORMED
    [found] = reason(read_start, answer({**START, "decision": {**ALLOW, **change}}))
    assert found == Reason.DECISION_MALFORMED


def test_a_start():
    start = read_start(answer({**START, "redeem": [REDEEM]}))
    assert (start.decision, start.claims, start.until) == (ALLOW, CLAIMS, 1_795_640_195)
    assert [one.model_dump() for one in start.redeem] == [REDEEM]
    more = read_start(answer({**START, "claims": {**CLAIMS, "warrant_issuer": None}}))
    assert more.claims["warrant_issuer"] is None


def test_a_start_that_is_denied_has_no_claims():
    start = read_start(answer({"decision": DENY, "claims": None, "expires_at_ns": None, "redeem": []}))
    assert (start.decision, start.claims, start.until, start.redeem) == (DENY, {}, 0, ())


@pytest.mark.parametrize(
    "change",
    [
        {"decision": None},
        {"claims": None},
        {"expires_at_ns": None},
        {"expires_at_ns": "1"},
        {"expires_at_ns": 1.5},
        {"expires_at_ns": -1},
        {"redeem": None},
        {"redeem": [{**REDEEM, "uses": 0}]},
        {"redeem": [{**REDEEM, "uses": True}]},
        {"redeem": [{**REDEEM, "jti": "../x"}]},
        {"redeem": [{**REDEEM, "issuer": ""}]},
        {"redeem": [REDEEM] * 17},
        *({"claims": {**CLAIMS, name: "x"}} for name in sorted(OWN_CLAIMS)),
        *({"claims": without(name)} for name in CLAIMS if name != "claims"),
        {"claims": {**CLAIMS, "sub": "somebody else"}},
        {"claims": {**CLAIMS, "sub_iss": "another"}},
        {"claims": {**CLAIMS, "principals": [["i"]]}},
        {"claims": {**CLAIMS, "principals": []}},
        {"claims": {**CLAIMS, "actions": []}},
        {"claims": {**CLAIMS, "warrants": None}},
        {"decision": {**ALLOW, "subject": None}},
    ],
)  # fmt: skip
def test_a_start_of_another_form(change):
    [found] = reason(read_start, answer({**START, **change}))
    assert found == Reason.DECISION_MALFORMED


def test_the_id_of_the_record():
    assert decision_id(answer(ALLOW)) == "d-1"
    for body in (b"", b"[]", b"{}", b'{"decision_id": 1}'):
        assert decision_id(Answer(200, body)) is None


def test_a_denial_of_the_agents_own_is_a_whole_decision():
    denial = refused(Reason.WARRANT_SPENT, {**ALLOW, "warrant": {"ids": ["w"], "issuer": "i"}, "execution": "e"})
    assert read_decision(answer(denial)) == denial
    assert denial["reasons"] == [{"code": "warrant.spent", "message": "The warrant has no uses left."}]
    assert (denial["subject"], denial["execution"], denial["state"]) == (SUBJECT, "e", "sha256:1")
    assert refused(Reason.LEASE_MISSING)["subject"] is None
