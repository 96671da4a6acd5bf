"""A policy's tests as people read them: what failed and why, how much was reached, and the same as JUnit."""

import json
import re
import subprocess
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import PlacetError, UsageError
from app.core.opa import Opa
from app.core.policy_project import load
from app.core.policy_template import Template, create
from app.core.policy_tests import TestReport, TestResult, junit, run_tests

POLICY = """package app.authz

default allow := false

allow if limit >= input.amount

limit := 500 if input.currency == "EUR"

limit := 550 if {
	input.currency == "USD"
	not input.abroad
}
"""
TESTS = """package app.authz_test

import data.app.authz

test_small if authz.allow with input as {"amount": 1, "currency": "EUR"}

test_large if {
	amount := 501
	print("about to fail")
	asked := {"amount": amount, "currency": "EUR"}
	authz.allow with input as asked
}

test_conflict if {
	x := authz.limit with input as {"currency": "EUR"}
	x > 1
	x < 500
}

todo_test_later if false
"""


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "authz.rego").write_text(POLICY)
    (tmp_path / "authz_test.rego").write_text(TESTS)
    return tmp_path


def test_a_failed_test_says_where_and_with_which_values(policy, opa):
    report = run_tests(load(policy), opa, coverage=True)
    assert [one.outcome for one in report.results] == ["passed", "failed", "failed", "skipped"]
    _, large, conflict, _ = report.results
    assert large.failed_at == f"{policy}/authz_test.rego:11"
    assert large.expression == "authz.allow with input as asked"
    assert large.output == "about to fail"
    assert conflict.failed_at.endswith(":17")
    assert conflict.values == ("x = 500",)
    assert report.coverage is None  # what a failed run reached says nothing
    assert len(report.failed) == 2


def test_an_error_and_a_test_without_end_are_told_apart_from_a_failure(policy, opa):
    (policy / "bad.rego").write_text(
        "package app.bad\n\nx := 1 if input.a\n\nx := 2 if input.b\n\nslow if {\n"
        "\tsome i in numbers.range(1, 100000)\n\tsome j in numbers.range(1, 100000)\n\ti + j == 0\n}\n"
    )
    (policy / "bad_test.rego").write_text(
        "package app.bad_test\n\nimport data.app.bad\n\n"
        'test_conflict if bad.x with input as {"a": 1, "b": 1}\n\ntest_slow if bad.slow\n\ntest_false if 1 == 2\n'
    )
    conflict, slow, false = run_tests(load(policy), opa, pattern="bad_test", coverage=True).results
    assert (conflict.outcome, slow.outcome, false.outcome) == ("error", "error", "failed")
    assert conflict.failed_at == f"{policy}/bad.rego:5"
    assert f"conflicting values: 1 at {policy}/bad.rego:3" in conflict.expression
    assert "timed out" in slow.expression or "deadline exceeded" in slow.expression
    assert false.expression == "test_false if 1 == 2"


def test_coverage_is_of_the_policy_and_names_what_is_missing(policy, opa):
    report = run_tests(load(policy), opa, pattern="small", coverage=True)
    assert [one.name for one in report.results] == ["test_small"]
    assert report.coverage.percent < 100
    assert [place.rsplit("/", 1)[1].split(":")[0] for place in report.coverage.missing]
    rows = {int(re.search(r":(\d+)", place)[1]) for place in report.coverage.missing}
    assert rows <= set(range(3, 13))
    assert 10 in rows or 9 in rows or 11 in rows
    assert json.loads(json.dumps(report.as_dict()))["coverage"]["percent"] == report.coverage.percent


def test_a_file_without_tests_counts(policy, opa):
    before = run_tests(load(policy), opa, pattern="small", coverage=True).coverage.percent
    (policy / "other.rego").write_text("package app.other\n\na := 1 if input.x\n")
    assert run_tests(load(policy), opa, pattern="small", coverage=True).coverage.percent < before


def test_the_verdicts_are_those_of_opa_test(policy, opa, opa_binary):
    answer = subprocess.run(
        [opa_binary, "test", "--format", "json", policy], capture_output=True, timeout=60, check=False
    )
    theirs = {one["name"]: (bool(one.get("fail")), bool(one.get("skip"))) for one in json.loads(answer.stdout)}
    ours = run_tests(load(policy), opa).results
    assert theirs == {one.name: (one.outcome == "failed", one.outcome == "skipped") for one in ours}


def test_what_does_not_compile_is_no_report(policy, opa):
    (policy / "bad.rego").write_text("package app.bad\n\na := b\n")
    with pytest.raises(PlacetError, match=r"bad\.rego:3:6: .*unsafe.*; give it a value.*placet policy check") as failed:
        run_tests(load(policy), opa)
    assert "placet-test-" not in str(failed.value)


def test_data_in_yaml_is_there_in_a_test(policy, opa):
    (policy / "app").mkdir()
    (policy / "app" / "data.yaml").write_text("limits: {EUR: 500}\n")
    (policy / "yaml_test.rego").write_text("package app.yaml_test\n\ntest_it if data.app.limits.EUR == 500\n")
    (one,) = run_tests(load(policy), opa, pattern="yaml_test").results
    assert one.outcome == "passed"


def test_a_pattern_that_opa_refuses_is_wrong_usage(policy, opa):
    with pytest.raises(UsageError, match="--run"):
        run_tests(load(policy), opa, pattern="(")


@pytest.mark.parametrize("template", Template)
def test_a_new_policy_reaches_all_of_itself(tmp_path, opa, template):
    report = run_tests(load(create("mine", template, tmp_path)), opa, coverage=True)
    assert report.count("passed") == len(report.results) >= 5
    assert report.coverage.percent == 100
    assert report.coverage.missing == ()


def test_junit_has_what_ci_systems_read(policy, opa):
    root = ElementTree.fromstring(junit(run_tests(load(policy), opa), "app"))
    suite = root.find("testsuite")
    assert root.tag == "testsuites"
    assert suite.attrib | {"time": ""} == {
        "name": "app.authz_test",
        "tests": "4",
        "failures": "2",
        "errors": "0",
        "skipped": "1",
        "time": "",
        "file": f"{policy}/authz_test.rego",
    }
    cases = {case.get("name"): case for case in suite}
    assert cases["test_small"].find("failure") is None
    assert "authz.allow with input as asked" in cases["test_large"].find("failure").text
    assert cases["test_large"].find("system-out").text == "about to fail"
    assert cases["todo_test_later"].find("skipped") is not None


@given(st.text(), st.text(), st.text())
@settings(deadline=None)
def test_junit_is_xml_whatever_a_test_prints(output, expression, value):
    one = TestResult("test_x", "p", "f.rego", 1, "failed", 0.1, "f.rego:1", expression, (value,), output)
    ElementTree.fromstring(junit(TestReport((one,)), output))
