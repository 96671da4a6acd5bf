import jwt
import pytest

from app.sidecar import authzen
from app.sidecar.authzen import MAX_EVALUATIONS, Malformed, read_evaluation, read_evaluations, to_answer, to_input

QUESTION = {
    "subject": {"type": "user", "id": "alice@example.com"},
    "action": {"name": "can_read"},
    "resource": {"type": "account", "id": "123"},
}
DECISION = {"allow": True, "reasons": [], "obligations": [], "subject": {"issuer": "i", "id": "a"}, "mode": None}


def test_entities_become_an_input():
    asked = {
        "subject": {**QUESTION["subject"], "properties": {"department": "Sales"}},
        "action": {"name": "can_read", "properties": {"method": "GET"}},
        "resource": {**QUESTION["resource"], "properties": {"owner": "bob"}},
        "context": {"time": "1985-10-26T01:22-07:00"},
    }
    evaluation = read_evaluation(asked)
    assert evaluation.subject == "alice@example.com"
    assert evaluation.input == {
        "action": asked["action"],
        "resource": asked["resource"],
        "context": {**asked["context"], "subject": {"type": "user", "properties": {"department": "Sales"}}},
    }


def test_what_nobody_knows_is_ignored():
    noise = {"x": 1}
    asked = {name: {**entity, **noise} for name, entity in QUESTION.items()}
    assert read_evaluation({**asked, **noise, "options": noise}) == read_evaluation(QUESTION)


@pytest.mark.parametrize("missing", ["subject", "action", "resource"])
def test_what_is_required(missing):
    for value in (None, "text", [], {}):
        with pytest.raises(Malformed, match=missing):
            read_evaluation({**QUESTION, missing: value})
    with pytest.raises(Malformed, match=missing):
        read_evaluation({name: entity for name, entity in QUESTION.items() if name != missing})
    for member in QUESTION[missing]:
        for value in (None, 1, "", [], {}):
            with pytest.raises(Malformed, match=f"{missing}.{member}"):
                read_evaluation({**QUESTION, missing: {**QUESTION[missing], member: value}})
    with pytest.raises(Malformed, match="properties"):
        read_evaluation({**QUESTION, missing: {**QUESTION[missing], "properties": None}})


@pytest.mark.parametrize("change", [{"context": None}, {"context": []}, {"context": {"subject": {}}}, {"placet": []}])
def test_other_members(change):
    with pytest.raises(Malformed):
        read_evaluation({**QUESTION, **change})


def test_placets_own_members_go_into_the_input_and_no_others():
    own = {"warrant": ["w"], "proof": "p", "environment": ["e"], "execution": {"id": "x"}}
    assert own.items() <= read_evaluation({**QUESTION, "placet": own}).input.items()
    for name in ("identity", "action", "anything"):
        with pytest.raises(Malformed, match="placet"):
            read_evaluation({**QUESTION, "placet": {name: {}}})


def test_defaults_are_replaced_whole():
    batch = read_evaluations(
        {
            **QUESTION,
            "context": {"a": 1},
            "evaluations": [{}, {"resource": {"type": "t", "id": "2"}, "context": {"b": 2}}],
        }
    )
    first, second = batch.evaluations
    assert first == read_evaluation({**QUESTION, "context": {"a": 1}})
    assert second.input["resource"] == {"type": "t", "id": "2"}
    assert set(second.input["context"]) == {"b", "subject"}
    assert batch.semantic == "execute_all"


def test_one_bad_evaluation_is_its_own_error():
    batch = read_evaluations({"subject": QUESTION["subject"], "evaluations": [QUESTION, {"action": {}}, 1]})
    assert [isinstance(one, Malformed) for one in batch.evaluations] == [False, True, True]


def test_without_evaluations_it_is_the_single_form():
    assert read_evaluations(QUESTION) is None
    assert read_evaluations({**QUESTION, "evaluations": []}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"evaluations": {}},
        {"evaluations": None},
        {"evaluations": [QUESTION] * (MAX_EVALUATIONS + 1)},
        {"options": {"evaluations_semantic": "first"}},
        {"options": {"evaluations_semantic": None}},
        {"options": {"evaluations_semantic": ["execute_all"]}},
        {"options": []},
    ],
)
def test_batches_of_another_form(change):
    with pytest.raises(Malformed):
        read_evaluations({"evaluations": [QUESTION], **change})


@pytest.mark.parametrize(
    ("semantic", "on_permit", "on_deny"),
    [("execute_all", False, False), ("deny_on_first_deny", False, True), ("permit_on_first_permit", True, False)],
)
def test_when_it_stops(semantic, on_permit, on_deny):
    assert authzen.stops(semantic, {"decision": True}) is on_permit
    assert authzen.stops(semantic, authzen.error(400, "x")) is on_deny


def test_the_caller_itself_or_somebody_that_it_names():
    own = jwt.encode({"sub": "alice@example.com"}, "k" * 32)
    evaluation = read_evaluation(QUESTION)
    assert to_input(evaluation, own)["identity"] == {"token": own}
    for other in (jwt.encode({"sub": "gateway"}, "k" * 32), jwt.encode({}, "k" * 32), "junk", "a.b.c", "x" * 99):
        assert to_input(evaluation, other)["identity"] == {"token": other, "asserted": {"id": "alice@example.com"}}


def test_answers():
    assert to_answer(DECISION) == {"decision": True}
    reasons = [{"code": "policy.denied", "message": "no"}]
    assert to_answer({**DECISION, "allow": False, "reasons": reasons}) == {
        "decision": False,
        "context": {"reasons": reasons},
    }
    duty = {"type": "mask"}
    mode = {"kind": "shadow", "id": "m", "reasons": reasons}
    assert to_answer({**DECISION, "obligations": [duty]})["context"] == {"reasons": [], "obligations": [duty]}
    assert to_answer({**DECISION, "mode": mode})["context"] == {"reasons": [], "mode": mode}


@pytest.mark.parametrize(
    ("code", "subject", "unauthenticated"),
    [
        ("identity.expired", None, True),
        ("identity.invalid", None, True),
        ("identity.missing", None, True),
        ("identity.grant", None, False),
        ("identity.domain", None, False),
        ("lease.missing", None, False),
        ("policy.denied", {"issuer": "i", "id": "a"}, False),
        ("identity.expired", {"issuer": "i", "id": "a"}, False),
    ],
)
def test_whose_fault_it_is(code, subject, unauthenticated):
    decision = {**DECISION, "allow": False, "subject": subject, "reasons": [{"code": code, "message": ""}]}
    assert authzen.is_unauthenticated(decision) is unauthenticated
    assert not authzen.is_unauthenticated(DECISION)
