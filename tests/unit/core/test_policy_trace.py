"""Asking a policy, and why it answered so: real OPA, real traces."""

import json

import pytest

from app.core.errors import PlacetError
from app.core.opa import Opa
from app.core.policy_evaluation import bench, evaluate, glue, reference, refused
from app.core.policy_project import load
from app.core.policy_template import Template, create
from app.core.policy_trace import explain


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def asked(policy, which):
    folder = policy / "inputs" / which
    return [json.loads((folder / name).read_text()) for name in ("input.json", "subject.json")]


def every(rules):
    for rule in rules:
        yield rule
        yield from every(rule.rules)


@pytest.mark.parametrize("template", Template)
def test_the_examples_of_a_template_are_what_they_say(tmp_path, opa, template):
    policy = create("mine", template, tmp_path)
    project = load(policy)
    for which in ("allowed", "denied"):
        found = explain(project, opa, reference(project.entrypoint), *asked(policy, which))
        assert found.defined
        assert found.value["allow"] is (which == "allowed")
        codes = {reason["code"] for reason in found.value["reasons"]}
        (decision,) = found.rules
        assert decision.name == "decision"
        assert decision.values == [found.value] or template is Template.KUBERNETES_ADMISSION
        given = [one for one in decision.rules if one.name == "reasons" and one.values]
        assert {value["code"] for one in given for value in one.values} == codes
        for one in every(found.rules):
            assert one.file.startswith(str(policy))
            text = (tmp_path / one.file).read_text().splitlines()
            assert one.name.split(".")[0].removesuffix("(…)") in text[one.line - 1]
            assert bool(one.values) != bool(one.expression)
            assert one.expression in "\n".join(text)
            assert not any("__local" in value for value in one.locals)


def test_an_explanation_says_which_expression_was_not_true_and_why(tmp_path, opa):
    policy = create("mine", Template.AI_AGENT, tmp_path)
    given, subject = asked(policy, "allowed")
    given["context"]["cost"] = 12
    found = explain(load(policy), opa, "data.mine.authz.decision", given, subject)
    budget = next(one for one in every(found.rules) if one.name == "within_budget")
    assert budget.status == "undefined"
    assert budget.expression == "input.context.cost <= tool.max_cost"
    assert budget.locals == ["input.context.cost = 12", "tool.max_cost = 10"]
    over = next(one for one in every(found.rules) if one.name == "reasons" and "over_budget" in one.status)
    assert budget in over.rules
    assert json.loads(json.dumps(found.as_dict()))["value"] == found.value


def test_a_default_and_what_an_index_would_hide_are_shown(tmp_path, opa):
    (tmp_path / "a.rego").write_text(
        'package a\n\ndefault allow := false\n\nallow if input.x == "one"\n\nallow if input.x == "two"\n'
    )
    found = explain(load(tmp_path), opa, "data.a.allow", {"x": "three"}, None)
    assert [(one.line, one.default, one.status) for one in found.rules] == [
        (5, False, "undefined"),
        (7, False, "undefined"),
        (3, True, "false"),
    ]
    assert found.rules[0].locals == ['input.x = "three"']


def test_an_undefined_answer_is_explained_too(tmp_path, opa):
    (tmp_path / "a.rego").write_text("package a\n\nallow if input.x\n")
    found = explain(load(tmp_path), opa, "data.a.allow", {}, None)
    assert not found.defined
    assert found.rules[0].failed_at.endswith("a.rego:3")
    assert found.rules[0].locals == ["input.x is undefined"]


def test_what_takes_long_is_not_traced(tmp_path, opa):
    (tmp_path / "a.rego").write_text("package a\n\nx := count([1 | some i in numbers.range(1, 3000000); i > 1])\n")
    with pytest.raises(PlacetError, match=r"takes \d+\.\d s.*--query"):
        explain(load(tmp_path), opa, "data.a.x", None, None)


def test_the_caller_is_whom_the_author_says(tmp_path, opa):
    (tmp_path / "a.rego").write_text("package a\n\nwho := data.placet.subject.id\n")
    answered = evaluate(load(tmp_path), opa, "data.a.who", None, {"id": "ana"})
    assert answered["result"][0]["expressions"][0]["value"] == "ana"
    assert "result" not in evaluate(load(tmp_path), opa, "data.a.who", None, None)


def test_the_library_is_there_for_who_leans_on_it(tmp_path, opa):
    (tmp_path / "a.rego").write_text("package a\n\nnow := data.placet.clock.now\n\nwho := data.placet.subject.id\n")
    answered = evaluate(load(tmp_path), opa, "[data.a.now, data.a.who]", None, {"id": "ana"})
    now, who = answered["result"][0]["expressions"][0]["value"]
    assert now > 1_600_000_000_000_000_000
    assert who == "ana"


def test_a_conflict_is_named_by_its_place(tmp_path, opa):
    (tmp_path / "a.rego").write_text("package a\n\nx := 1 if input.a\n\nx := 2 if input.b\n")
    with pytest.raises(PlacetError, match=r"a\.rego:5:1: .*produced conflicting values: 1 at") as failed:
        evaluate(load(tmp_path), opa, "data.a.x", {"a": 1, "b": 1}, None)
    assert str(tmp_path) in str(failed.value)
    assert "placet-eval-" not in str(failed.value)


def test_a_benchmark_has_times_and_allocations(tmp_path, opa):
    (tmp_path / "a.rego").write_text("package a\n\nx := count([y | some y in input.many])\n")
    found = bench(load(tmp_path), opa, "data.a.x", {"many": list(range(100))}, None)
    assert found.evaluations > 10
    assert found.ns_per_op > 100
    assert found.allocations_per_op > 10
    assert found.bytes_per_op > 1000
    with pytest.raises(PlacetError, match="undefined"):
        bench(load(tmp_path), opa, "data.a.nothing", None, None)


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        ("true", []),
        ("false", ["policy.denied"]),
        ('{"allow": true, "reasons": [], "obligations": []}', []),
        ('{"allow": false, "reasons": [{"code": "x", "message": "y"}]}', ["policy.denied"]),
        ('{"allowed": true}', ["policy.malformed"]),
        ('{"allow": "yes"}', ["policy.malformed"]),
        ('{"allow": true, "obligations": [{"type": "mask"}]}', ["policy.malformed"]),
    ],
)
def test_the_library_judges_the_form_of_an_answer(tmp_path, opa, answer, failures):
    (tmp_path / "a.rego").write_text(f"package a\n\nx := {answer}\n")
    (tmp_path / "placet.yaml").write_text("entrypoint: a/x\n")
    assert refused(load(tmp_path), opa, None, None) == failures


def test_the_glue_is_that_of_a_composed_bundle(tmp_path, opa_binary):
    from app.core.archive import read_archive
    from app.core.building import build
    from app.core.bundle import parse_bundle
    from app.core.compose import Library, compose

    policy = create("mine", Template.HTTP_API, tmp_path)
    composed = compose(parse_bundle(build(policy, Opa(opa_binary)).bundle), Library.shipped())
    theirs = read_archive(composed.raw)["placet/glue.rego"]
    assert theirs.startswith(glue("mine/authz/decision"))


@pytest.mark.parametrize("ask", [evaluate, bench, explain])
def test_what_does_not_compile_is_named_with_its_column_and_a_remedy(tmp_path, opa, ask):
    (tmp_path / "a.rego").write_text("package a\n\nx := 1\n\nf if {\n")
    with pytest.raises(PlacetError, match=r"a\.rego:6:1: unexpected eof token; OPA could not read on from here"):
        ask(load(tmp_path), opa, "data.a.x", None, None)
    (tmp_path / "a.rego").write_text("package a\n\nx := b\n")
    with pytest.raises(PlacetError, match=rf"^{tmp_path}/a\.rego:3:6: var b is unsafe; give it a value"):
        ask(load(tmp_path), opa, "data.a.x", None, None)


@pytest.mark.parametrize("ask", [evaluate, bench, explain])
def test_data_in_yaml_is_there(tmp_path, opa, ask):
    (tmp_path / "a.rego").write_text("package a\n\nx := data.a.limits.EUR\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data.yaml").write_text("limits: {EUR: 500}\n")
    assert "500" in str(ask(load(tmp_path), opa, "data.a.x", None, None)) or ask is bench  # which fails on undefined
