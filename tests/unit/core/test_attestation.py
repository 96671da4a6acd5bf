import json

import pytest

from app.core import attestation, statements
from app.core.errors import Denied, PlacetError, UsageError
from app.core.opa import Opa

from .tars import bundle as packed

POLICY = b"package app\n\ndefault allow := false\n\nallow if input.good\n\nallow if {\n\tinput.other\n\tinput.more\n}\n"
TESTS = {
    "app_test.rego": b'package app_test\n\nimport data.app\n\ntest_good if app.allow with input as {"good": true}\n'
}


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


@pytest.fixture(scope="module")
def raw():
    return packed({"app.rego": POLICY})


def test_what_is_stated(raw, opa):
    tested = attestation.attest(raw, "x.tar.gz", TESTS, opa)
    document = json.loads(tested.statement)
    assert document["subject"] == [statements.resource("x.tar.gz", tested.digest)]
    assert document["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = document["predicate"]
    assert predicate["result"] == "PASSED"
    assert predicate["passedTests"] == ["app_test.test_good"]
    assert predicate["failedTests"] == predicate["warnedTests"] == []
    assert [one["name"] for one in predicate["configuration"]] == ["app_test.rego", "opa"]
    assert 0 < predicate["coverage"]["percent"] < 100
    assert predicate["coverage"]["missing"]
    assert all(one.startswith("app.rego:") for one in predicate["coverage"]["missing"])


def test_a_skipped_test_is_a_warning(raw, opa):
    tests = TESTS | {"later_test.rego": b"package later_test\n\ntodo_test_later if false\n"}
    predicate = json.loads(attestation.attest(raw, "x", tests, opa).statement)["predicate"]
    assert (predicate["result"], predicate["warnedTests"]) == ("WARNED", ["later_test.todo_test_later"])


@pytest.mark.parametrize(
    ("tests", "kind", "said"),
    [
        ({}, UsageError, "no tests"),
        ({"a_test.rego": b"package a_test\n\nx := 1\n"}, UsageError, "not one test"),
        ({"a_test.rego": b"package a_test\n\ntest_a if false\n"}, attestation.Failed, "a_test.test_a"),
        # These would have the tests pass on a policy that is not the bundle's.
        (
            {"a_test.rego": b"package app\n\nallow if true\n\ntest_a if allow\n"},
            UsageError,
            "adds to the rule app.allow",
        ),
        ({"a_test.rego": b"package app.allow\n\nx if true\n\ntest_a if true\n"}, UsageError, "adds to the rule"),
        ({"app.rego": b"package a_test\n\ntest_a if true\n"}, UsageError, "is a file of the bundle"),
        ({"a_test.rego": b"package a_test\n\ntest_a if {"}, Denied, "rego.compile"),
        ({"a_test.rego": b"package a_test\n\ntest_a if nothing.there(1)\n"}, PlacetError, "does not compile"),
    ],
)
def test_nothing_is_stated(raw, opa, tests, kind, said):
    with pytest.raises(kind, match=said) as error:
        attestation.attest(raw, "x", tests, opa)
    assert "\n" not in str(error.value)


def test_a_test_cannot_stand_in_for_a_builtin_that_the_policy_calls(opa):
    policy = packed({"app.rego": POLICY.replace(b"input.good", b'startswith(input.good, "a")')})
    tests = {"a_test.rego": b'package app\n\nstartswith(_, _) := true\n\ntest_a if allow with input as {"good": "b"}\n'}
    with pytest.raises(UsageError, match=r"a_test\.rego: the rule app\.startswith would hide"):
        attestation.attest(policy, "x", tests, opa)
    tests = {"a_test.rego": tests["a_test.rego"].replace(b"app", b"other", 1).replace(b"allow", b"not data.app.allow")}
    assert attestation.attest(policy, "x", tests, opa).report.count("passed") == 1


def test_tests_in_the_policys_own_package(raw, opa):
    tests = {"a_test.rego": b'package app\n\ntest_a if allow with input as {"good": true}\n'}
    assert attestation.attest(raw, "x", tests, opa).report.count("passed") == 1


def test_below_the_threshold(raw, opa):
    with pytest.raises(PlacetError, match="not 99 %"):
        attestation.attest(raw, "x", TESTS, opa, threshold=99)
