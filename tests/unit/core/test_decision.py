import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.decision import Decision, interpret
from app.core.reason_codes import Reason

ALLOW = {"allow": True, "reasons": [], "obligations": [{"type": "review"}], "bundles": {}, "subject": None}
DENY = {"allow": False, "reasons": [{"code": "lease.expired", "message": "The lease has expired."}], "obligations": []}


def test_a_whole_allow_allows():
    decision = interpret({"decision_id": "1", "result": ALLOW})
    assert decision == Decision(True, (), ({"type": "review"},))


def test_a_denial_says_why():
    decision = interpret({"result": DENY})
    assert (decision.allow, decision.reasons) == (False, (("lease.expired", "The lease has expired."),))


def test_an_allow_may_carry_the_reasons_of_the_policy():
    decision = interpret({"result": {**ALLOW, "reasons": [{"code": "policy:small", "message": "below the limit"}]}})
    assert (decision.allow, decision.reasons) == (True, (("policy:small", "below the limit"),))


@pytest.mark.parametrize(
    "answer", [None, {}, [], "", 1, True, {"result": None}, {"result": {}}, {"allow": True}, [ALLOW]]
)
def test_no_decision(answer):
    decision = interpret(answer)
    assert not decision.allow
    assert decision.reasons[0][0] == Reason.DECISION_UNDEFINED


@pytest.mark.parametrize(
    "result",
    [
        True,
        False,
        0,
        1,
        "true",
        [],
        [True],
        "allow",
        {"allow": None},
        {"allow": 1},
        {"allow": "true"},
        {"Allow": True},
        {"allow": True},
        {"allow": True, "reasons": []},
        {"allow": True, "obligations": []},
        {**ALLOW, "allow": 1},
        {**ALLOW, "allow": [True]},
        {**ALLOW, "reasons": None},
        {**ALLOW, "reasons": {}},
        {**ALLOW, "reasons": DENY["reasons"]},
        {**ALLOW, "obligations": None},
        {**ALLOW, "obligations": ["x"]},
        {**ALLOW, "obligations": {}},
        {**DENY, "reasons": []},
        {**DENY, "reasons": [{"code": "policy:small", "message": "only the policy's own"}]},
        {**DENY, "reasons": ["x"]},
        {**DENY, "reasons": [{}]},
        {**DENY, "reasons": [{"code": 1, "message": "x"}]},
        {**DENY, "reasons": [{"code": "x"}]},
        {**DENY, "reasons": [*DENY["reasons"], None]},
    ],
)
def test_malformed_answers_deny(result):
    decision = interpret({"result": result})
    assert not decision.allow
    assert decision.reasons[0][0] == Reason.DECISION_MALFORMED


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["allow", "reasons", "obligations", "result", "code", "message"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(ANYTHING)
def test_only_the_exact_form_allows(result):
    decision = interpret({"result": result})
    if decision.allow:
        assert result["allow"] is True
        assert all(code.startswith("policy:") for code, _ in decision.reasons)
        assert all(isinstance(one, dict) for one in result["obligations"])
    else:
        assert decision.reasons
