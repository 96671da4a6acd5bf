"""Conditions on what attestations say, evaluated by the real OPA."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.core import condition_check, conditions
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.verification_policy import RequiredPredicate, SignerIdentity, VerificationPolicy
from app.local import tools

TYPE = "https://in-toto.io/attestation/test-result/v0.1"
SIGNER = SignerIdentity(identity="a", issuer="b")
PREDICATE = {"result": "PASSED", "coverage": 91.5, "text": "91.5", "big": 9007199254740993, "failed": [], "all": [1, 0]}


@pytest.fixture(scope="module")
def opa():
    return Opa(tools.installed("opa"))


def verified(predicate, kind=TYPE):
    """A statement as the verifier hands it on, with the bytes that were signed."""
    statement = {"predicateType": kind, "predicate": predicate}
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    raw = json.dumps({"dsseEnvelope": {"payload": payload}}).encode()
    return VerifiedStatement(kind, statement, SIGNER, datetime.now(UTC), raw)


def denial(opa, condition, *predicates):
    found = {f"attestations[{number}]": verified(one) for number, one in enumerate(predicates or [PREDICATE])}
    with pytest.raises(Denied) as denied:
        conditions.check([RequiredPredicate(type=TYPE, condition=condition)], found, opa)
    assert "\n" not in str(denied.value)
    assert (denied.value.step, denied.value.field) == ("required_predicates", "required_predicates[0].condition")
    assert denied.value.reason == Reason.EVIDENCE_CONDITION
    return denied.value.detail


HOLD = [
    "input.predicate.coverage >= 90",
    'input.predicate.result == "PASSED"\nis_number(input.predicate.coverage)\ninput.predicate.coverage >= 90',
    "x := input.predicate.coverage; x > 91; x < 92",
    "-1 < input.predicate.coverage",
    "some x in input.predicate.all; x == 1",
    "every x in input.predicate.failed { x == null }",
    "not input.predicate.skipped",
    "input.predicate.big == 9007199254740993",
    'input.predicateType == "https://in-toto.io/attestation/test-result/v0.1" # the type',
]

FAIL = {
    "input.predicate.coverage >= 92": "gives false, not true",
    "input.predicate.coverage >= 90\ninput.predicate.nothing": "false or undefined",
    "input.nothing": "false or undefined",
    "input.predicate.big == 9007199254740992": "gives false, not true",
    "false": "gives false, not true",
    "input.predicate.coverage": "gives 91.5, not true",
    "input.predicate.result": 'gives "PASSED", not true',
    "input.predicate.failed": "gives [], not true",
    "null": "gives null, not true",
    "data": "data as a whole, or a name in it that is not written out",
    '{k: v | some v in [1, 2]; k := "a"}': "object keys must be unique",
    "1 / (input.predicate.coverage - 91.5) > 0": "divide by zero",
    'to_number("x") == 1': "invalid",
    "input..x": "1:7: unexpected . token",
    "input.predicate.coverage >=": "unexpected",
    "# nothing": "empty",
    "import rego.v1": "the condition fails",
    "package x\nallow := true": "the condition fails",
    "nothing_of_the_kind": "unsafe",
    'http.send({"method": "get", "url": "http://127.0.0.1:1"}).status_code == 200': "undefined function http.send",
    "opa.runtime() == {}": "undefined function opa.runtime",
    "time.now_ns() > 0": "undefined function time.now_ns",
    'rand.intn("x", 10) >= 0': "undefined function rand.intn",
    'print("x")': "undefined function internal.print",
}


@pytest.mark.parametrize("condition", HOLD)
def test_it_holds(opa, condition):
    conditions.check([RequiredPredicate(type=TYPE, condition=condition)], {"signature": verified(PREDICATE)}, opa)


@pytest.mark.parametrize("condition", FAIL)
def test_everything_but_true_denies(opa, condition):
    assert FAIL[condition] in denial(opa, condition)


def test_text_counts_as_more_than_any_number(opa):
    """As everywhere in Rego: a condition says that it means a number."""
    bare = RequiredPredicate(type=TYPE, condition="input.predicate.coverage >= 90")
    conditions.check([bare], {"signature": verified({"coverage": "5"})}, opa)
    assert "false" in denial(
        opa, "is_number(input.predicate.coverage)\ninput.predicate.coverage >= 90", {"coverage": "5"}
    )


def test_every_statement_of_the_type_must_satisfy_it(opa):
    good, bad = PREDICATE, {**PREDICATE, "coverage": 10}
    assert denial(opa, "input.predicate.coverage >= 90", good, bad).startswith("attestations[1] (")
    other = {"signature": verified(bad, "https://slsa.dev/provenance/v1"), "attestations[0]": verified(good)}
    conditions.check([RequiredPredicate(type=TYPE, condition="input.predicate.coverage >= 90")], other, opa)


def test_all_that_is_required_must_be_there(opa):
    required = [RequiredPredicate(type=TYPE), RequiredPredicate(type="https://example.org/sbom", condition="true")]
    with pytest.raises(Denied) as denied:
        conditions.check(required, {"signature": verified(PREDICATE)}, opa)
    assert (denied.value.reason, denied.value.field) == (Reason.EVIDENCE_INCOMPLETE, "required_predicates[1]")
    again = [RequiredPredicate(type=TYPE, condition="true"), RequiredPredicate(type=TYPE, condition="false")]
    with pytest.raises(Denied) as denied:
        conditions.check(again, {"signature": verified(PREDICATE)}, opa)
    assert denied.value.field == "required_predicates[1].condition"


def test_one_that_takes_too_long(opa, monkeypatch):
    monkeypatch.setattr(conditions, "TIMEOUT", 1)
    endless = "count([1 | some i in numbers.range(1, 30000); some j in numbers.range(1, 30000); i == j]) == 1"
    assert "the condition fails" in denial(opa, endless)


def test_one_that_takes_too_long_to_compile(opa, monkeypatch):
    monkeypatch.setattr(condition_check, "COMPILING", 0.5)
    nested = "[y | y := " * 40 + "1" + "]" * 40
    said = denial(opa, nested)
    assert said.startswith("attestations[0] (")
    assert "the condition fails: opa eval took more than" in said
    assert condition_check.fault("true", opa) is None


def test_what_a_statement_says_is_never_run(opa):
    """Text of the attestation stays text, whatever it looks like."""
    wild = {"coverage": "data; true", "result": '"}; http.send({})'}
    assert "false" in denial(opa, 'input.predicate.coverage == "90"', wild)


def test_the_example_of_the_documentation(opa, tmp_path):
    """The policy in docs/verification.md, over test results as `placet bundle attest` writes them."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "verification.md").read_text()
    (tmp_path / "policy.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    policy = VerificationPolicy.load(tmp_path / "policy.yaml")
    policy.require_somebody()
    tested = [one for one in policy.requirements if one.condition]
    good = {"result": "PASSED", "coverage": {"percent": 90, "missing": []}}
    conditions.check(tested, {"attestations[0]": verified(good)}, opa)
    for bad in (
        {"result": "FAILED"},
        {"coverage": {"percent": 89.9}},
        {"coverage": {"percent": "100"}},
        {"coverage": {}},
    ):
        with pytest.raises(Denied):
            conditions.check(tested, {"attestations[0]": verified(good | bad)}, opa)
