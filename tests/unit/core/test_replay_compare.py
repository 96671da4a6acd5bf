"""A mark in a record stands for a value only where the trust state's rules may have put it."""

import pytest

from app.core.masking import MaskingRule, for_opa
from app.core.replay_compare import alike, hidden, hides_outcome

RULES = [
    MaskingRule(path=f"result/{one}") for one in ("subject/id", "obligations/*/who", "reasons/*/message", "claims/x")
]
MASKED = hidden({"masking": for_opa(RULES)})


@pytest.mark.parametrize(
    ("recorded", "same"),
    [
        ('{"subject":{"id":"(masked)","issuer":"i"}}', True),
        ('{"subject":{"id":"(masked 00ff)","issuer":"i"}}', True),
        ('{"subject":"(masked)"}', True),  # as where there are too many
        ('{"subject":{"id":"a","issuer":"(masked)"}}', False),
        ('{"obligations":[{"who":"(masked)","what":"log"}]}', True),
        ('{"obligations":[{"who":"(masked)","what":"(masked)"}]}', False),
        ('{"reasons":[{"code":"policy.denied","message":"(masked)"}]}', True),
        ('{"reasons":[{"code":"(masked)","message":"m"}]}', False),
        ('{"allow":"(masked)"}', False),
        ('"(masked)"', False),
    ],
)
@pytest.mark.parametrize("wrap", ["%s", '{"decision":%s}'])
def test_a_mark_stands_for_what_a_rule_names(recorded, same, wrap):
    found = {
        "subject": '{"subject":{"id":"a","issuer":"i"}}',
        "obligations": '{"obligations":[{"who":"a","what":"log"}]}',
        "reasons": '{"reasons":[{"code":"policy.denied","message":"m"}]}',
    }
    answer = next((text for name, text in found.items() if name in recorded), '{"allow":true}')
    if wrap != "%s" and recorded == '{"subject":"(masked)"}':
        same = False
    assert alike(wrap % answer, wrap % recorded, MASKED) is same
    assert not alike(wrap % answer, wrap % recorded, ())


def test_no_rule_hides_an_outcome():
    forged = {
        "masking": {"input": [], "result": [{"path": path, "how": "remove"} for path in (["allow"], ["decision"], [])]}
    }
    assert hidden(forged) == hidden({}) == ()
    assert hides_outcome('{"decision":"(masked)"}', MASKED)
    assert not hides_outcome('{"decision":"(masked)"}', hidden({"masking": for_opa(RULES[3:])}))
