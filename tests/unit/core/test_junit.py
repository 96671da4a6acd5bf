"""The JUnit report fits the schema that CI systems check reports by, whatever the tests of a policy are called."""

import re
from xml.etree import ElementTree

import pytest

from app.core.opa import Opa
from app.core.policy_project import load
from app.core.policy_tests import TestReport, TestResult, junit, run_tests

TEXT, COUNT, SECONDS = ".*", "[0-9]+", r"[0-9]+\.[0-9]+"
TOLD = {"type": TEXT, "message": TEXT}
#: Element -> its attributes, the required ones, and what may stand in it: what junit-10.xsd of Jenkins' xUnit plugin
#: allows, of the parts that a report can have. https://github.com/jenkinsci/xunit-plugin
SCHEMA = {
    "testsuites": ({"name": TEXT, "time": SECONDS, "tests": COUNT}, set(), {"testsuite"}),
    "testsuite": (
        {"name": TEXT, "time": SECONDS, "file": TEXT}
        | dict.fromkeys(("tests", "failures", "errors", "skipped"), COUNT),
        {"name", "tests", "failures", "errors"},
        {"testcase", "system-out"},
    ),
    "testcase": (
        {"name": TEXT, "time": SECONDS, "classname": TEXT, "group": TEXT},
        {"name"},
        {"skipped", "error", "failure", "system-out"},
    ),
    "failure": (TOLD, set(), set()),
    "error": (TOLD, set(), set()),
    "skipped": (TOLD, set(), set()),
    "system-out": ({}, set(), set()),
}


def checked(raw):
    root = ElementTree.fromstring(raw)
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, required, within = SCHEMA[element.tag]
        assert required <= element.attrib.keys() <= attributes.keys(), element.tag
        for name, value in element.attrib.items():
            assert re.fullmatch(attributes[name], value, re.DOTALL), (element.tag, name)
        assert {below.tag for below in element} <= within
        if within and element.text:
            assert not element.text.strip()
    return root


def test_a_report_of_every_outcome(tmp_path, opa_binary):
    (tmp_path / "a.rego").write_text("package app\n\nallow if input.x\n")
    (tmp_path / "a_test.rego").write_text(
        'package app["it\'s <b> &"]\n\nimport data.app\n\n'
        'test_good if app.allow with input as {"x": true}\n\ntest_bad if {\n\tprint("]]> <&\\u001b")\n'
        "\tapp.allow with input as {}\n}\n\ntest_error if {\n\tsome x in [1, 2]\n\tf(x)\n}\n\n"
        "f(_) := 1 if true\n\nf(_) := 2 if true\n\ntodo_test_later if true\n"
    )
    report = run_tests(load(tmp_path), Opa(opa_binary))
    assert {one.outcome for one in report.results} == {"passed", "failed", "error", "skipped"}
    root = checked(junit(report, str(tmp_path)))
    [suite] = root
    assert suite.get("name") == 'app["it\'s <b> &"]'
    assert [suite.get(one) for one in ("tests", "failures", "errors", "skipped")] == ["4", "1", "1", "1"]
    failure = suite.find("testcase/failure")
    assert failure.get("message") == "app.allow with input as {}"
    assert re.match(r".*a_test\.rego:\d+\n", failure.text)  # where: the schema has no attribute for it


@pytest.mark.parametrize(
    "name", ['"', "'", "<", ">", "&amp;", "]]>", "<!--", "\x00\x1b\x7f\x85", "\ud800", "\ufffe", "a\nb\tc", ""]
)
@pytest.mark.parametrize("outcome", ["passed", "failed", "error", "skipped"])
def test_a_name_of_any_kind(name, outcome):
    result = TestResult(name, name, name, 1, outcome, 1234.5, name, name, (name,), name)
    [suite] = checked(junit(TestReport((result,)), name))
    kept = re.sub("[\x00\x1b\ud800\ufffe]", "\ufffd", name)
    assert [suite.get("name"), suite[0].get("classname"), suite[0].get("name")] == [kept] * 3


def test_an_error_of_several_is_told_by_its_first(tmp_path, opa_binary):
    """OPA cannot ask for a test below a name that it writes with an escape of another language."""
    (tmp_path / "a.rego").write_text("package app\n\nallow if input.x\n")
    (tmp_path / "a_test.rego").write_text('package app["\\u001b"]\n\ntest_good if true\n')
    [one] = run_tests(load(tmp_path), Opa(opa_binary)).results
    assert (one.outcome, one.expression) == ("error", "illegal escape sequence")
    checked(junit(TestReport((one,)), "app"))
