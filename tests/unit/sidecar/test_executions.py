"""Starting and renewing executions, with an OPA that answers what a test says. Real ones are in tests/integration."""

import json
import threading
import time

import jwt
import pytest

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar import executions
from app.sidecar.control_plane import NotAccepted
from app.sidecar.ended_executions import EndedExecutions
from app.sidecar.execution_keys import LIFETIME, ExecutionKeys
from app.sidecar.executions import BadRequest, Executions
from app.sidecar.opa_api import Answer, OpaUnavailable
from app.sidecar.running import Running
from tests.unit.sidecar.test_answers import ALLOW, CLAIMS, DENY, REDEEM, START

ID = "0123456789abcdef"
TRUST = {
    "domain": "example.org",
    "audience": "spiffe://example.org/system/payments",
    "links": {"partner.example": True},
    "execution": {"issuer": "spiffe://example.org/sidecar/payments/one"},
    "quarantine": {"subjects": {}, "executions": {}, "domains": {}},
    "issuers": {"i": {"domain": "example.org", "names": "", "audiences": ["us"], "keys": {}}},
    "x509": {},
    "grants": {},
    "max_identity_age_seconds": None,
    "warrant": {"revoked": {}, "issuers": {"w": {"domain": "example.org", "keys": {"wk": {}}}}},
    "modes": {"shadow": [], "break_glass": [{"id": "b", "actions": ["restart"], "resources": ["host/*"]}]},
}


class World:
    """OPA, the lease and the control plane, as a test sets them."""

    def __init__(self, path, room=100_000):
        self.keys = ExecutionKeys(path)
        self.keys.open()
        self.until = int(time.time()) + 3600
        self.start = {**START, "expires_at_ns": self.until * 1_000_000_000}
        self.status = 200
        self.failure = None
        self.trust = TRUST
        self.asked = []
        self.redeemed = []
        self.refusal = None
        self.running = Running(path.with_name("running.db"), EndedExecutions(lambda: room), self.keys.renew)
        self.running.open()
        self.keys.written(self.keys.public())
        self.executions = Executions(self.keys, lambda: self, lambda: self.trust, self.redeem, self.running)

    def ask(self, path, request):
        self.asked.append((path, request))
        if self.failure:
            raise self.failure
        return Answer(self.status, json.dumps({"result": self.start, "decision_id": "d-1"}).encode())

    def redeem(self, execution, subject, warrants):
        self.redeemed.append((execution, subject, warrants))
        if self.refusal:
            raise self.refusal

    def begin(self, execution=ID, **more):
        return self.executions.start({"action": {"name": "read"}, "execution": {"id": execution}, **more})

    def claims(self, outcome):
        return self.keys.verify(outcome.execution["token"], TRUST["execution"]["issuer"], TRUST["audience"])


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "keys.json")


def codes(outcome):
    assert outcome.execution is None
    assert outcome.decision["allow"] is False
    return [reason["code"] for reason in outcome.decision["reasons"]]


def test_a_start(world):
    outcome = world.begin()
    assert world.asked == [("placet/start", {"action": {"name": "read"}, "execution": {"id": ID}})]
    assert (outcome.decision, outcome.decision_id, outcome.execution["id"]) == (ALLOW, "d-1", ID)
    claims = world.claims(outcome)
    assert {name: claims[name] for name in CLAIMS} == CLAIMS
    assert (claims["exe"], claims["until"]) == (ID, world.until)
    assert claims["exp"] - claims["iat"] == LIFETIME
    assert world.redeemed == [], "nothing to count"


def test_the_agent_makes_ids_that_nobody_guesses(world):
    request = {"action": {"name": "read"}}
    first, second = (world.executions.start(request).execution["id"] for _ in range(2))
    assert first != second
    assert len(first) == 36
    assert world.asked[0][1]["execution"] == {"id": first}


@pytest.mark.parametrize(
    "execution",
    [
        "x",
        1,
        [],
        {},
        {"id": 1},
        {"id": "short"},
        {"id": "x" * 65},
        {"id": "with spaces and !"},
        {"id": ID, "token": "t"},
    ],
)
def test_an_id_of_another_form_is_no_start(world, execution):
    with pytest.raises(BadRequest):
        world.executions.start({"execution": execution})
    assert world.asked == []


def test_a_denial_redeems_nothing(world):
    world.start = {"decision": DENY, "claims": None, "expires_at_ns": None, "redeem": [REDEEM]}
    assert codes(world.begin()) == ["policy.denied"]
    assert world.redeemed == []


def test_uses_are_counted_before_the_token_is_signed(world):
    world.start["redeem"] = [REDEEM]
    outcome = world.begin()
    assert world.redeemed == [(ID, {"issuer": "i", "id": "a"}, [REDEEM])]
    assert world.claims(outcome)["exe"] == ID


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (Reason.WARRANT_SPENT, "warrant.spent"),
        (Reason.WARRANT_REVOKED, "warrant.revoked"),
        (Reason.EXECUTION_CONFLICT, "execution.conflict"),
        (None, "warrant.unredeemed"),
        (Reason.POLICY_DENIED, "warrant.unredeemed"),
    ],
)
def test_what_the_control_plane_refuses_does_not_start(world, given, reason):
    world.start["redeem"] = [REDEEM]
    world.refusal = NotAccepted("no", given)
    outcome = world.begin()
    assert codes(outcome) == [reason]
    assert outcome.decision["subject"] == ALLOW["subject"]
    world.refusal = None
    assert world.begin().execution, "the same start may be tried again"


def test_what_was_allowed_and_refused_is_recorded_as_refused(world):
    world.start["redeem"] = [REDEEM]
    world.refusal = NotAccepted("no", Reason.WARRANT_SPENT)
    outcome = world.begin()
    assert codes(outcome) == ["warrant.spent"]
    said = {"code": "warrant.spent", "message": "The warrant has no uses left."}
    path, request = world.asked[1]
    assert (path, request["execution"]) == ("placet/start", {"id": ID, "refused": said})
    assert request["action"] == world.asked[0][1]["action"]
    assert outcome.decision_id == "d-1"


def test_a_refusal_stands_without_its_record(world):
    def refuse(*_):
        world.failure = OpaUnavailable("gone")
        raise NotAccepted("no", Reason.WARRANT_SPENT)

    world.start["redeem"] = [REDEEM]
    world.executions = Executions(world.keys, lambda: world, lambda: world.trust, refuse, world.running)
    outcome = world.begin()
    assert codes(outcome) == ["warrant.spent"]
    assert outcome.decision_id is None


@pytest.mark.parametrize(
    ("status", "failure", "reason"),
    [
        (500, None, "evaluation.error"),
        (400, None, "request.malformed"),
        (200, OpaUnavailable("gone"), "sidecar.unreachable"),
    ],
)
def test_without_an_answer_of_opa_there_is_no_start(world, status, failure, reason):
    world.status, world.failure = status, failure
    assert codes(world.begin()) == [reason]
    assert world.redeemed == []


def test_only_under_a_lease(world):
    token = world.begin().execution["token"]
    world.trust = None
    assert codes(world.begin()) == ["lease.missing"]
    assert codes(world.executions.renew(ID, token)) == ["lease.missing"]
    assert len(world.asked) == 1


def test_a_lease_lost_while_the_control_plane_is_asked(world):
    world.start["redeem"] = [REDEEM]
    world.redeem = lambda *_: setattr(world, "trust", None)
    world.executions._redeem = world.redeem
    assert codes(world.begin()) == ["lease.missing"]


def test_no_token_outlives_what_it_rests_on(world):
    soon = int(time.time()) + 20
    world.start["expires_at_ns"] = soon * 1_000_000_000 + 999_999_999
    assert world.claims(world.begin())["exp"] == soon
    world.start["expires_at_ns"] = int(time.time()) * 1_000_000_000
    assert codes(world.begin("another-execution")) == ["execution.expired"]


def test_broken_glass_starts_nothing_wider_than_itself(world):
    """It may have lifted a missing warrant, for its own scope; inside an execution no warrant is asked for."""
    world.start["decision"] = {**ALLOW, "mode": {"kind": "break-glass", "id": "b", "reasons": []}}
    claims = world.claims(world.begin())
    assert (claims["actions"], claims["resources"]) == (["restart"], ["host/*"])
    world.start["claims"] = {**CLAIMS, "warrants": ["w-1"], "actions": ["read"]}
    assert world.claims(world.begin("with-a-warrant-of-its-own"))["actions"] == ["read"]
    world.start["claims"] = CLAIMS
    world.trust = {**TRUST, "modes": {"shadow": [], "break_glass": []}}
    assert codes(world.begin("when-the-glass-is-whole")) == ["mode.invalid"]
    world.start["decision"] = {**ALLOW, "mode": {"kind": "shadow", "id": "s", "reasons": []}}
    assert world.claims(world.begin("in-the-shadow-of-it"))["actions"] == ["*"]


def test_an_id_is_one_subjects(world):
    assert world.begin().execution
    assert world.begin().execution, "the same start again"
    subject = {**ALLOW["subject"], "id": "b"}
    world.start |= {"decision": {**ALLOW, "subject": subject}, "claims": {**CLAIMS, "sub": "b"}}
    assert codes(world.begin()) == ["execution.conflict"]
    world.start["claims"] = {**world.start["claims"], "sub": "a", "warrants": ["w"]}
    world.start["decision"] = ALLOW
    assert codes(world.begin()) == ["execution.conflict"], "another chain"


def test_an_id_is_free_again_when_its_last_token_has_run_out(world, monkeypatch):
    """However long the identity lasts: or else one caller with a long token could take the room of all."""
    monkeypatch.setattr(executions, "_CLAIMED", 0)
    first = world.begin()
    other = {"decision": {**ALLOW, "subject": {**ALLOW["subject"], "id": "b"}}, "claims": {**CLAIMS, "sub": "b"}}
    mine, world.start = world.start, {**world.start, **other}
    assert world.begin().execution
    monkeypatch.setattr(executions, "_CLAIMED", LIFETIME)
    assert world.executions.renew(ID, first.execution["token"]).execution
    assert codes(world.begin()) == ["execution.conflict"], "a renewal keeps it"
    world.start = mine
    assert world.begin().execution


def test_a_proof_is_used_once(world):
    proof = jwt.encode({"jti": "nonce"}, "k" * 32)
    assert world.begin(proof=proof).execution
    assert codes(world.begin("another-execution", proof=proof)) == ["warrant.proof_invalid"]
    assert codes(world.begin("another-execution", proof=jwt.encode({}, "k" * 32))) == ["warrant.proof_invalid"]


def test_a_denied_start_uses_no_nonce(world):
    proof = jwt.encode({"jti": "nonce"}, "k" * 32)
    allowed, world.start = world.start, {"decision": DENY, "claims": None, "expires_at_ns": None, "redeem": []}
    world.begin(proof=proof)
    world.start = allowed
    assert world.begin(proof=proof).execution


def test_one_nonce_for_many_at_once(world):
    proof = jwt.encode({"jti": "nonce"}, "k" * 32)
    outcomes = []
    threads = [
        threading.Thread(target=lambda n=n: outcomes.append(world.begin(f"execution-number-{n}", proof=proof)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome.execution is not None for outcome in outcomes) == 1


def test_a_renewal(world):
    before = world.begin().execution["token"]
    outcome = world.executions.renew(ID, before)
    claims = world.claims(outcome)
    assert outcome.execution["id"] == ID
    assert {name: claims[name] for name in CLAIMS} == CLAIMS
    assert claims["until"] == world.until
    assert world.asked[1:] == []


def test_a_renewal_does_not_go_beyond_the_end(world):
    world.start["expires_at_ns"] = (int(time.time()) + 30) * 1_000_000_000
    first = world.begin()
    again = world.executions.renew(ID, first.execution["token"])
    assert world.claims(again)["exp"] == world.claims(first)["exp"]


def test_what_rests_on_nothing_any_more_is_not_renewed(world):
    """What else it may rest on is in test_footing.py."""
    token = world.begin().execution["token"]
    assert world.executions.renew(ID, token).execution
    world.trust = {**TRUST, "quarantine": {"executions": {ID: {}}, "subjects": {}, "domains": {}}}
    assert codes(world.executions.renew(ID, token)) == ["quarantine.execution"]
    world.trust = {**TRUST, "issuers": {}}
    outcome = world.executions.renew(ID, token)
    assert codes(outcome) == ["identity.issuer_unknown"]
    assert outcome.decision["subject"] == ALLOW["subject"]


def test_what_rests_on_nothing_any_more_does_not_start(world):
    """Such as when the issuer is removed while OPA decides."""
    world.running.judge({**TRUST, "issuers": {}})
    assert codes(world.begin()) == ["identity.issuer_unknown"]


def test_what_was_stopped_is_neither_renewed_nor_started(world):
    token = world.begin().execution["token"]
    world.running.judge({**TRUST, "issuers": {}})
    world.running.judge(TRUST)
    assert codes(world.executions.renew(ID, token)) == ["identity.issuer_unknown"], "for good"
    assert codes(world.begin()) == ["execution.ended"]
    assert world.begin("another-execution").execution


def test_no_token_is_signed_by_new_keys_for_what_was_just_stopped(tmp_path, monkeypatch):
    """All tokens end where there is no room for the names, also those that are being given meanwhile."""
    world = World(tmp_path / "keys.json", room=1)
    sign, gone = world.keys.sign, {**TRUST, "issuers": {}}

    def arrives():
        world.running.judge(gone)
        world.keys.written(world.keys.public())

    def signed_late(claims):
        state = threading.Thread(target=arrives)
        state.start()
        state.join(0.3)
        try:
            return sign(claims)
        finally:
            states.append(state)

    states = []
    monkeypatch.setattr(world.keys, "sign", signed_late)
    outcome = world.begin()
    states[0].join(10)
    with pytest.raises(Denied, match="current keys"):
        world.claims(outcome)


def test_a_token_of_which_nothing_is_known_is_not_renewed(world):
    claims = world.claims(world.begin())
    assert codes(world.executions.renew(ID, world.keys.sign({**claims, "rests": "on-something"}))) == [
        "execution.invalid"
    ]
    del claims["rests"]
    assert codes(world.executions.renew(ID, world.keys.sign(claims))) == ["execution.invalid"]


def test_tokens_that_are_not_renewed(world):
    token = world.begin().execution["token"]
    assert codes(world.executions.renew("another-execution", token)) == ["execution.mismatch"]
    assert codes(world.executions.renew(ID, token[:-6] + "AAAAAA")) == ["execution.invalid"]
    old = world.keys.sign({**world.claims(world.begin()), "iat": 1, "exp": 2})
    assert codes(world.executions.renew(ID, old)) == ["execution.expired"]
