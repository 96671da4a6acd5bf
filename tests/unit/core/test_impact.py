"""What a new policy changes: told from what it does not, grouped, and counted apart where nobody can tell."""

import json
from dataclasses import dataclass, field

import pytest

from app.core import impact
from app.core.bundle import build_bundle, digest_of
from app.core.compose import Library
from app.core.impact import Change, Impact, Report
from app.core.replay import EvaluationError, Unheld
from app.core.replay_record import Absent

OLD = "sha256:" + "1" * 64
STATE = b'{"environment":{"results":[]}}'
LIBRARY = Library.shipped()


def bundle(body="decision := true"):
    manifest = {"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/authz/decision"}}}
    return build_bundle(
        {".manifest": json.dumps(manifest).encode(), "app/authz.rego": f"package app.authz\n\n{body}\n".encode()}
    )


NEW = bundle()
POLICY = digest_of(NEW)


def result(allow=True, codes=(), policy=OLD, **more):
    return {
        "allow": allow,
        "bundles": {"library": LIBRARY.digest, "policy": policy},
        "expires_at": "2026-01-31T12:00:00Z" if allow else None,
        "obligations": [],
        "reasons": [{"code": code, "message": "m"} for code in codes],
        "state": digest_of(STATE),
        "subject": {"id": "job-17", "issuer": "https://tokens.example.org"},
    } | more


def written(document):
    return json.dumps(document, separators=(",", ":"), sort_keys=True)


def record(number=1, answer=None, action="refund", path="placet/decision", **members):
    document = {
        "type": "openpolicyagent.org/decision_logs",
        "decision_id": f"d{number}",
        "path": path,
        "bundles": {"placet": {"revision": f"policy={OLD} library={LIBRARY.digest}"}},
        "input": {"action": {"name": action}, "resource": {"type": "invoice", "id": "in-7"}},
        "result": result() if answer is None else answer,
        "nd_builtin_cache": {"time.now_ns": {"[]": 1}, "placet.lease": {"[]": {}}},
    }
    return written(document | members).encode()


@dataclass
class Parts:
    """What is stored: the trust state alone."""

    asked: list[str] = field(default_factory=list)

    def bundle(self, digest):
        self.asked.append(digest)

    def library(self, digest):
        return None

    def state(self, digest):
        return STATE if digest == digest_of(STATE) else None


class Engine:
    """An OPA that gives these answers, in the order of the records."""

    def __init__(self, answers):
        self.answers = list(answers)

    def evaluate(self, query, records, states):
        return [self.answers.pop(0) for _ in records]


def effects(records, answers, raw=NEW):
    engine, parts = Engine(answers), Parts()
    found = list(Impact(raw, parts, lambda policy, composed: engine).effects(records))
    assert [one for one, _ in found] == records
    assert parts.asked == [], "no other policy is asked for"
    return [effect for _, effect in found]


def one(recorded, given, **members):
    [found] = effects([record(answer=recorded, **members)], [given if not isinstance(given, dict) else written(given)])
    return found


NEW_DENIAL = result(False, ["policy.denied", "amount.high"], POLICY)

CHANGES = {
    "nothing": (result(), result(policy=POLICY), None, ""),
    "a denial stays": (result(False, ["a"]), result(False, ["a"], POLICY), None, ""),
    "denies": (result(), NEW_DENIAL, Change.DENIES, "policy.denied,amount.high"),
    "allows": (result(False, ["policy.denied"]), result(policy=POLICY), Change.ALLOWS, "policy.denied"),
    "reasons": (result(False, ["a"]), result(False, ["b", "a"], POLICY), Change.REASONS, "b,a"),
    "obligations": (result(), result(policy=POLICY, obligations=[{"log": 1}]), Change.OBLIGATIONS, ""),
    "an obligation's number": (
        result(obligations=[{"n": 1}]),
        result(policy=POLICY, obligations=[{"n": 1.0}]),
        Change.OBLIGATIONS,
        "",
    ),
    "expires": (result(), result(policy=POLICY, expires_at="2026-01-31T11:00:00Z"), Change.OTHER, ""),
    "undefined": (result(), None, Change.DENIES, "decision.undefined"),
    "an error": (result(), EvaluationError("conflict"), Change.DENIES, "evaluation.error"),
    "an error for a denial": (result(False, ["a"]), EvaluationError("conflict"), Change.REASONS, "evaluation.error"),
    # What only looks like the policy's digest is compared like everything else.
    "a digest in an obligation": (
        result(obligations=[{"policy": OLD}]),
        result(policy=POLICY, obligations=[{"policy": POLICY}]),
        Change.OBLIGATIONS,
        "",
    ),
}


@pytest.mark.parametrize(("recorded", "given", "change", "reason"), CHANGES.values(), ids=CHANGES)
def test_what_changes(recorded, given, change, reason):
    found = one(recorded, given)
    assert (found.change, found.unavailable) == (change, None)
    if change is not None:
        assert (found.action, found.resource_type, found.reason) == ("refund", "invoice", reason)
        assert found.issuer == "https://tokens.example.org"


def test_an_executions_start_is_compared_by_its_decision():
    def started(answer, **more):
        return {"claims": {"policy": OLD}, "decision": answer, "expires_at_ns": 1} | more

    path = "placet/start"
    assert one(started(result()), started(result(policy=POLICY)), path=path).change is None
    assert one(started(result()), started(NEW_DENIAL), path=path).change is Change.DENIES
    assert one(started(result()), started(result(policy=POLICY), expires_at_ns=2), path=path).change is Change.OTHER


def test_what_nobody_can_tell_is_not_counted_as_unchanged():
    assert "outcome" in one(result(), Unheld()).unavailable
    cut = record(answer=result(), input={"action": {"name": "refund"}, "context": {"note": "(token cut)"}})
    [found] = effects([cut], [written(NEW_DENIAL)])
    assert (found.change, "not kept" in found.unavailable) == (None, True)
    [found] = effects([cut], [written(result(policy=POLICY))])
    assert (found.change, found.unavailable) == (None, None), "the same answer without that part"
    [found] = effects([Absent.of("d9", "record.erased")], [])
    assert (found.decision_id, found.unavailable) == ("d9", "record.erased")
    [found] = effects([record(answer=result(state="sha256:" + "9" * 64))], [])
    assert "trust state" in found.unavailable
    [found] = effects([b"no record"], [])
    assert "no decision record" in found.unavailable


def test_odd_requests_are_told_in_one_short_line():
    action = "x\n\x1b[31m" + "y" * 500
    found = one(result(), NEW_DENIAL, action=action)
    assert len(found.action) == impact.MAX_TEXT
    assert found.action.startswith("x\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31m")
    for asked in ([], "x", {"action": "refund"}, {"action": {"name": 7}, "resource": None}):
        found = one(result(subject=None), {**NEW_DENIAL, "subject": None}, input=asked)
        assert (found.change, found.action, found.resource_type, found.issuer) == (Change.DENIES, "", "", "")


def test_a_report_groups_what_changes_alike(monkeypatch):
    records = [record(number, action="refund" if number % 3 else "close") for number in range(12)]
    answers = [written(NEW_DENIAL if number % 2 else result(policy=POLICY)) for number in range(12)]
    report = Report(POLICY)
    for raw, effect in zip(records, effects(records, answers), strict=True):
        report.add(raw, effect)
    document = report.document()
    assert (document["policy"], document["records"], document["changed"], document["unavailable"]) == (POLICY, 12, 6, 0)
    assert document["changes"] == {str(change): 6 if change is Change.DENIES else 0 for change in Change}
    assert [(group["action"], group["count"], group["examples"]) for group in document["groups"]] == [
        ("refund", 4, ["d1", "d5", "d7", "d11"]),
        ("close", 2, ["d3", "d9"]),
    ]
    assert document["inputs"].startswith("sha256:")

    monkeypatch.setattr(impact, "MAX_GROUPS", 1)
    monkeypatch.setattr(impact, "MAX_EXAMPLES", 1)
    few, other = Report(POLICY), Report(POLICY)
    for raw, effect in zip(records, effects(records, answers), strict=True):
        few.add(raw, effect)
    assert [(group.action, group.count, len(group.examples)) for group in few.groups] == [("refund", 4, 1), ("…", 2, 1)]
    assert few.inputs == report.inputs
    for raw, effect in zip(records[::-1], effects(records[::-1], answers[::-1]), strict=True):
        other.add(raw, effect)
    assert other.inputs != report.inputs, "in their order"
