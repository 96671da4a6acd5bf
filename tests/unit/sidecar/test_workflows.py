"""The declared workflows, applied to what executions ask and note."""

from typing import NamedTuple

import pytest

from app.core.errors import Denied
from app.core.governance import Workflow
from app.core.link_names import Ref
from app.sidecar.workflows import Workflows

A, B = ("sha256:" + letter * 64 for letter in "ab")
PAY = Workflow.model_validate(
    {
        "layout": {
            "steps": [
                {"name": "check", "expected_products": [["CREATE", "report"], ["DISALLOW", "*"]]},
                {
                    "name": "pay",
                    "expected_materials": [["MATCH", "report", "WITH", "PRODUCTS", "FROM", "check"], ["DISALLOW", "*"]],
                },
            ]
        },
        "required_for": {"actions": ["refund"], "resources": ["payment/*"]},
    }
)


class Step(NamedTuple):
    name: str
    materials: tuple[Ref, ...] = ()
    products: tuple[Ref, ...] = ()


#: As the journal has them: with names of its own beside the caller's.
CHECK = Step("check", (Ref("link/execution/start", A), Ref("decision/d-1", A)), (Ref("artifact/report", A),))
PAID = Step("pay", (Ref("artifact/report", A), Ref("link/execution/step", A), Ref("link/parent", A)))


def body(action="refund", kind="payment", **more):
    return {"input": {"action": {"name": action}, "resource": {"type": kind, "id": "p-1"}}, **more}


@pytest.fixture
def workflows():
    return Workflows(lambda: {"pay": PAY})


def reason(call, *args):
    with pytest.raises(Denied) as caught:
        call(*args)
    return caught.value.reason


def test_a_start(workflows):
    assert workflows.begin(body(workflow="pay")) == "pay"
    assert workflows.begin(body("read", workflow="pay")) == "pay"
    assert workflows.begin(body("read")) is None
    assert reason(workflows.begin, body()) == "workflow.required"
    assert reason(workflows.begin, body("read", workflow="other")) == "workflow.required"


@pytest.mark.parametrize(
    "broken",
    [{}, {"input": None}, {"input": {}}, body(None), body(kind=1), body(workflow=["pay"]), body(workflow=1)],
    ids=str,
)
def test_a_start_of_another_form(workflows, broken):
    assert reason(workflows.begin, broken) == "request.malformed"


def test_steps(workflows):
    workflows.step("pay", [], CHECK)
    workflows.step("pay", [CHECK], PAID)
    workflows.end("pay", [CHECK, PAID])
    assert reason(workflows.step, "pay", [], PAID) == "workflow.violated"
    assert reason(workflows.end, "pay", [CHECK]) == "workflow.violated"
    other = PAID._replace(materials=(Ref("artifact/report", B),))
    assert reason(workflows.step, "pay", [CHECK], other) == "workflow.violated"


def test_what_is_not_declared_any_more_goes_no_further():
    declared = {"pay": PAY}
    workflows = Workflows(lambda: declared)
    workflows.step("pay", [], CHECK)
    declared.clear()
    assert reason(workflows.step, "pay", [CHECK], PAID) == "workflow.violated"
    assert reason(workflows.end, "pay", [CHECK, PAID]) == "workflow.violated"


def test_without_governance_nothing_is_known():
    workflows = Workflows(lambda: None)
    assert reason(workflows.begin, body("read")) == "lease.missing"
    assert reason(workflows.step, "pay", [], CHECK) == "lease.missing"
