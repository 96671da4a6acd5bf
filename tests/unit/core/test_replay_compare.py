"""A mark in a record stands for a value only where the trust state's rules may have put it."""

import pytest

from app.core.masking import MaskingRule, for_opa
from app.core.replay_compare import alike, hidden

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


@pytest.mark.parametrize(
    "recorded",
    [
        '{"allow":false,"allow":true,"subject":{"id":"(masked)","n":1.0}}',
        '{"allow":true,"subject":{"id":"x","id":"(masked)","n":1.0}}',
        '{"\\u0061llow":true,"subject":{"id":"(masked)","n":1.0}}',
        '{"allow":true,"subject":{"id":"\\u0028masked)","n":1.0}}',
        '{"allow": true,"subject":{"id":"(masked)","n":1.0}}',
        '{"subject":{"id":"(masked)","n":1.0},"allow":true}',
        '{"allow":true,"subject":{"id":"(masked)","n":1}}',
        '{"allow":true,"subject":{"id":"(masked)","n":1.0,"m":2}}',
        '{"allow":true,"subject":{"id":"(masked)"}}',
    ],
)
def test_what_opa_writes_otherwise_is_not_the_same(recorded):
    answer = '{"allow":true,"subject":{"id":"a","n":1.0}}'
    assert alike(answer, '{"allow":true,"subject":{"id":"(masked)","n":1.0}}', MASKED)
    assert not alike(answer, recorded, MASKED)


def test_what_is_not_masked_stands_as_opa_writes_it():
    text = r'"\\u003c\u003cb\u003e\u0026\u2028\"\\\n\u0001' + '\x7f\U0001f600"'
    answer = '{"claims":{"x":"a"},"other":' + text + ',"subject":{"id":1e5}}'
    assert alike(answer, answer.replace('"a"', '"(masked)"').replace("1e5", '"(masked 00)"'), MASKED)
