"""Conditions that can never be evaluated, or not determinately, are refused when the policy is read."""

import json

import pytest
import yaml

from app.core import condition_check, conditions
from app.core.errors import Denied, UsageError
from app.core.opa import Opa
from app.core.verification_policy import RequiredPredicate, VerificationPolicy
from app.local import tools

from .test_conditions import FAIL, HOLD, PREDICATE, TYPE, verified

SIGNERS = "identities:\n  - {identity: a@example.org, issuer: https://accounts.example.org}\n"

#: Row and column in the condition, what is said, and what helps.
REFUSED = {
    "input..x": ("1:7", "unexpected . token", "look for what is missing just before"),
    "is_number(input.x)\ninput.x >=": ("2:10", "unexpected eof token", "look for what is missing just before"),
    "input.x >=\n\n": ("1:10", "unexpected eof token", "look for what is missing just before"),
    "input.x == PASSED": ("1:1", "var PASSED is unsafe", "put text in quotes"),
    "is_numbr(input.x)": ("1:1", "undefined function is_numbr", "correct its name"),
    'input.x + "a" == 1': ("1:1", "invalid argument", "the types do not fit"),
    "time.now_ns() > input.x": ("1:1", "undefined function time.now_ns", "sees the statement alone"),
    "true\n  http.send({}).status == 1": ("2:3", "undefined function http.send", "sees the statement alone"),
    'rand.intn("x", 2) == 1': ("1:1", "undefined function rand.intn", "sees the statement alone"),
    'io.jwt.decode_verify(input.x, {"secret": "s"})[0]': ("1:1", "undefined function io.jwt", "the statement alone"),
    "print(input)": ("1:1", "undefined function internal.print", "writes nothing"),
    "true\ntime.weekday([input.x, input.zone]) == \"Monday\"": ("2:1", "time.weekday:", "docs/determinism.md"),
    'sprintf("%p", [input.x]) == "0"': ("1:1", "sprintf:", "docs/determinism.md"),
    "input.x == 1; sprintf(input.y, []) == \"\"": ("1:15", "sprintf:", "docs/determinism.md"),
    "input.x == 1;\ndata.system.version": ("2:1", "data.system.version is not", "docs/determinism.md"),
    "walk(data, [path, value])": ("1:6", "data as a whole", "docs/determinism.md"),
    "count(input.x) == 1 with count as 1": ("1:21", "with count: only input and data", "docs/determinism.md"),
    "package x\nallow := true": (None, "not a query", "no package, import or rule"),
    "import rego.v1": (None, "not a query", "no package, import or rule"),
    "allow if { true }": ("1:7", "unexpected if keyword", "a rule is"),
    "true }\nfoo if { true": ("1:6", "unexpected } token", "look for"),
    "# nothing": (None, "empty query", "a condition is a query such as"),
}  # fmt: skip


@pytest.fixture(scope="module")
def opa():
    return Opa(tools.installed("opa"))


def policy(*given):
    return VerificationPolicy(identities=[], required_predicates=[{"type": "x", "condition": one} for one in given])


@pytest.mark.parametrize("condition", [*HOLD, *(one for one, said in FAIL.items() if said.startswith("gives"))])
def test_what_may_be_evaluated(opa, condition):
    condition_check.require(policy(condition), opa)


def test_nothing_is_evaluated(opa):
    """What would take for ever, divides by zero or is undefined there is a condition all the same."""
    endless = "count([1 | some i in numbers.range(1, 1000000000); some j in numbers.range(1, i); i == j]) == 1"
    condition_check.require(policy(endless, "1 / (input.x - input.x) > 0", "input.nothing", "false"), opa)


@pytest.mark.parametrize("condition", REFUSED)
def test_what_is_refused_before_any_release(opa, condition):
    where, said, remedy = REFUSED[condition]
    with pytest.raises(UsageError) as refused:
        condition_check.require(policy("true", condition), opa)
    text = str(refused.value)
    assert text.startswith("required_predicates.1.condition: " + (f"{where}: " if where else ""))
    assert said in text
    assert remedy in text.partition("; ")[2]
    assert "\n" not in text


@pytest.mark.parametrize("condition", [one for one, (_, said, _) in REFUSED.items() if said.endswith(":")])
def test_what_is_refused_denies_a_release_too(opa, condition):
    """A policy that nobody checked: one of Python code, or stored before there was a check."""
    required = [RequiredPredicate(type=TYPE, condition=condition)]
    with pytest.raises(Denied, match=r"the condition fails: .*docs/determinism\.md"):
        conditions.check(required, {"signature": verified(PREDICATE)}, opa)


PLACES = {
    SIGNERS + "required_predicates:\n  - x\n  - type: y\n    condition: |\n      true\n      input..x\n": (8, 13),
    SIGNERS + "required_predicates:\n  - {type: x, condition: input..x}\n": (4, 32),
    SIGNERS + 'required_predicates:\n  - {type: x, condition: "input..x"}\n': (4, 33),
    SIGNERS + "required_predicates:\n- type: x\n  condition: |2-\n    \n\n     input..x\n": (8, 12),
    # Folded, or with escapes: where the text begins.
    SIGNERS + "required_predicates:\n  - type: x\n    condition: >\n      true;\n      input..x\n": (5, 16),
    SIGNERS + 'required_predicates:\n  - {type: x, condition: "true\\ninput..x"}\n': (4, 26),
    json.dumps({"identities": [], "required_predicates": [{"type": "x", "condition": "input..x"}]}): (1, 78),
}


@pytest.mark.parametrize("text", PLACES)
def test_the_place_in_the_file(opa, tmp_path, text):
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        condition_check.require(VerificationPolicy.load(file), opa, file)
    line, column = PLACES[text]
    number = len(yaml.safe_load(text)["required_predicates"]) - 1
    said = f"{file}:{line}:{column}: required_predicates.{number}.condition: unexpected . token: expected identifier; "
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("hidden", ["true\0", "true \u202e", "true\x1b[2J", "true\x7f"])
def test_a_condition_with_hidden_characters(hidden):
    with pytest.raises(ValueError, match="printable characters"):
        policy(hidden)
    policy("true\r\n\ttrue # ü")
