import pytest
from pydantic import ValidationError

from app.core.masking import MARK, MaskingRule, for_opa, growth, steps
from app.sidecar.opa_api import encoded


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("input/context", ("input", ["context"])),
        ("input/context/*/card", ("input", ["context", None, "card"])),
        ("input/context/a~1b~0c/", ("input", ["context", "a/b~c", ""])),
        ("input/context/a*", ("input", ["context", "a*"])),
        ("input/execution/token", ("input", ["execution", "token"])),
        ("result/subject/id", ("result", ["subject", "id"])),
        ("result/reasons/*/message", ("result", ["reasons", None, "message"])),
        ("input/a/b/c/d/e/f/g/h", ("input", list("abcdefgh"))),
    ],
)
def test_paths_are_taken_apart(path, found):
    assert steps(path) == found
    assert MaskingRule(path=path).path == path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "must begin"),
        ("input", "must begin"),
        ("context/card", "must begin"),
        ("/input/context", "must begin"),
        ("nd_builtin_cache/x", "must begin"),
        ("input/*", "must be a name"),
        ("input/*/card", "must be a name"),
        ("input/a/b/c/d/e/f/g/h/i", "more than 8 steps"),
        ("result/subject/b/c/d/e/f/g/h", "more than 7 steps"),
        ("input/a~b", "tilde"),
        ("input/a~", "tilde"),
        ("result/allow", "of a result only"),
        ("result/state", "of a result only"),
        ("result/reasons", "of a result only"),
        ("result/reasons/*/code", "of a result only"),
        ("result/execution", "of a result only"),
        ("input/execution", "only its token"),
        ("input/execution/id", "only its token"),
        ("input/execution/*", "only its token"),
    ],
)
def test_what_evidence_rests_on_cannot_be_masked(path, said):
    with pytest.raises(ValueError, match=said):
        steps(path)
    with pytest.raises(ValidationError):
        MaskingRule(path=path)


def test_no_rules_leave_the_trust_state_as_it_was():
    assert for_opa([]) is None


def test_a_starts_decision_stands_one_step_deeper():
    rules = [MaskingRule(path="input/context/card", how="hash"), MaskingRule(path="result/subject/id")]
    assert for_opa([*rules, MaskingRule(path="result/claims/sub")]) == {
        "input": [{"path": ["context", "card"], "how": "hash"}],
        "result": [
            {"path": ["subject", "id"], "how": "remove"},
            {"path": ["decision", "subject", "id"], "how": "remove"},
            {"path": ["claims", "sub"], "how": "remove"},
        ],
    }


@pytest.mark.parametrize("path", ["result/subject/////", "input/" + "/" * 7, "result/obligations/" + "x" * 490])
def test_room_is_kept_for_what_rules_grow_to(path):
    rules = [MaskingRule(path=path)] * 10
    assert len(encoded(for_opa(rules))) <= sum(len(rule.model_dump_json()) for rule in rules) + growth(rules)


def test_the_mark_is_what_the_library_writes():
    from app.core.shipped import shipped

    source = (shipped("rego") / "placet" / "masking_rules.rego").read_text()
    assert f'"{MARK})"' in source
    assert f'"{MARK} %s)"' in source
