"""Workflows: what may be declared, when one is demanded, and which steps keep to it; in-toto itself is the oracle."""

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_toto.models.layout import Layout as InTotoLayout
from pydantic import ValidationError

from app.core import workflow
from app.core.errors import Denied
from app.core.governance import Workflow
from app.core.workflow import Done

A, B, C = ("sha256:" + letter * 64 for letter in "abc")

LAYOUT = {
    "steps": [
        {
            "name": "fetch",
            "expected_materials": [["DISALLOW", "*"]],
            "expected_products": [["CREATE", "source"], ["DISALLOW", "*"]],
        },
        {
            "name": "build",
            "expected_materials": [
                ["MATCH", "source", "WITH", "PRODUCTS", "FROM", "fetch"],
                ["DISALLOW", "*"],
            ],
            "expected_products": [["REQUIRE", "program"], ["ALLOW", "program"], ["DISALLOW", "*"]],
        },
        {"name": "report"},
    ]
}

FETCH = Done("fetch", {}, {"source": A})
BUILD = Done("build", {"source": A}, {"program": B})
REPORT = Done("report", {"program": C}, {"anything": C})


def declared(layout=LAYOUT, **more):
    return Workflow.model_validate({"layout": layout, **more})


def require(*steps):
    for at, now in enumerate(steps):
        workflow.require_step(declared(), steps[:at], now)


def test_the_way_it_goes():
    require(FETCH, BUILD, REPORT)
    workflow.require_done(declared(), [FETCH, BUILD, REPORT])


WRONG = {
    "not the first": ([BUILD], "fetch is next, not build"),
    "left out": ([FETCH, REPORT], "build is next, not report"),
    "twice": ([FETCH, FETCH], "build is next, not fetch"),
    "none of it": ([Done("deploy", {}, {})], "fetch is next, not deploy"),
    "beyond the end": ([FETCH, BUILD, REPORT, REPORT], "no step report may follow"),
    "a material too many": ([Done("fetch", {"x": A}, {"source": A})], "DISALLOW"),
    "a product too many": ([Done("fetch", {}, {"source": A, "x": A})], "DISALLOW"),
    "another material": ([FETCH, Done("build", {"source": B}, {"program": B})], "DISALLOW"),
    "no product": ([FETCH, Done("build", {"source": A}, {})], "REQUIRE program"),
}


@pytest.mark.parametrize(("steps", "said"), WRONG.values(), ids=WRONG)
def test_whatever_leaves_it(steps, said):
    require(*steps[:-1])
    with pytest.raises(Denied, match=said) as caught:
        require(*steps)
    assert caught.value.reason == "workflow.violated"
    assert "\n" not in str(caught.value)


def test_steps_that_were_not_the_workflows_own():
    with pytest.raises(Denied, match="steps before are not"):
        workflow.require_step(declared(), [BUILD], BUILD)


@pytest.mark.parametrize("steps", [[], [FETCH], [FETCH, BUILD]])
def test_it_is_done_at_its_end_alone(steps):
    with pytest.raises(Denied, match=r"not done yet: .*report"):
        workflow.require_done(declared(), steps)
    with pytest.raises(Denied, match="other steps"):
        workflow.require_done(declared(), [REPORT, BUILD, FETCH])


REFUSED = {
    "no steps": ({"steps": []}, "at least 1"),
    "a step twice": ({"steps": [{"name": "a"}, {"name": "a"}]}, "stands twice"),
    "no rule": ({"steps": [{"name": "a", "expected_products": [["PERHAPS", "*"]]}]}, "no artifact rule"),
    "half a rule": ({"steps": [{"name": "a", "expected_products": [["MATCH", "*", "WITH"]]}]}, "no artifact rule"),
    "a later step": (
        {
            "steps": [
                {"name": "a", "expected_products": [["MATCH", "*", "WITH", "PRODUCTS", "FROM", "b"]]},
                {"name": "b"},
            ]
        },
        "no earlier step",
    ),
    "a step's name": ({"steps": [{"name": "a b"}]}, "pattern"),
    "keys": ({"steps": [{"name": "a"}], "keys": {"k": {}}}, "layout.keys: steps are signed by"),
    "functionaries": ({"steps": [{"name": "a", "pubkeys": ["k"]}]}, "steps.0.pubkeys: steps are signed by"),
    "a threshold": ({"steps": [{"name": "a", "threshold": 2}]}, "steps.0.threshold"),
    "a threshold that is none": ({"steps": [{"name": "a", "threshold": True}]}, "steps.0.threshold"),
    "a command": ({"steps": [{"name": "a", "expected_command": ["make"]}]}, "in-toto only warns"),
    "inspections": ({"steps": [{"name": "a"}], "inspect": [{"name": "x"}]}, "layout.inspect"),
    "an end": ({"steps": [{"name": "a"}], "expires": "2030-01-01T00:00:00Z"}, "layout.expires"),
    "something else": ({"steps": [{"name": "a", "order": 1}]}, "Extra"),
    "no object": ([], "valid dictionary"),
}


@pytest.mark.parametrize(("layout", "said"), REFUSED.values(), ids=REFUSED)
def test_what_no_declaration_may_be(layout, said):
    with pytest.raises(ValidationError, match=said):
        declared(layout)
    with pytest.raises(ValidationError, match="order"):
        declared(order="any")


def test_a_layout_as_in_toto_writes_it():
    """What `in-toto` makes of our steps is read back as the same workflow, once its end is left out."""
    written = layout_of(LAYOUT)
    written.pop("expires")
    assert declared(written) == declared()


def in_toto_steps(layout):
    return [{"_type": "step", "pubkeys": [], "threshold": 1, "expected_command": [], **one} for one in layout["steps"]]


def layout_of(layout):
    whole = InTotoLayout.read(
        {**layout, "steps": in_toto_steps(layout), "expires": "2030-01-01T00:00:00Z", "keys": {}, "inspect": []}
    )
    return json.loads(whole.signable_bytes)


# ---- when one is demanded ----------------------------------------------------------------------------------

WORKFLOWS = {
    "pay": declared(required_for={"actions": ["refund", "pay*"], "resources": ["payment/*"]}),
    "deploy": declared(required_for={"actions": ["deploy"]}),
    "free": declared(),
    "deploy-slowly": declared(required_for={"actions": ["deploy"], "resources": ["service/web"]}),
}


@pytest.mark.parametrize(
    ("action", "kind", "id", "demanded"),
    [
        ("read", "payment", "p-1", []),
        ("refund", "payment", "p-1", ["pay"]),
        ("pay-out", "payment", "p-1", ["pay"]),
        ("refund", "account", "p-1", []),
        ("refund", "account/payment", "p-1", ["pay"]),  # what could be read in two ways
        ("deploy", "service", "web", ["deploy", "deploy-slowly"]),
        ("deploy", "", "", ["deploy"]),
    ],
)
def test_what_is_demanded(action, kind, id, demanded):
    assert workflow.demanded(WORKFLOWS, action, kind, id) == demanded
    for named in (None, *WORKFLOWS, "unknown"):
        may = (named is None or named in WORKFLOWS) and (not demanded or named in demanded)
        if may:
            workflow.require_declared(WORKFLOWS, named, action, kind, id)
        else:
            with pytest.raises(Denied) as caught:
                workflow.require_declared(WORKFLOWS, named, action, kind, id)
            assert caught.value.reason == "workflow.required"


# ---- as in-toto ----------------------------------------------------------------------------------------------

names = st.sampled_from(["source", "program", "x"])
artifacts = st.dictionaries(names, st.sampled_from([A, B]), max_size=3)
generic = st.tuples(
    st.sampled_from(["CREATE", "DELETE", "MODIFY", "ALLOW", "DISALLOW", "REQUIRE"]),
    st.sampled_from(["*", "source", "p*"]),
)
matching = st.tuples(
    st.just("MATCH"), st.sampled_from(["*", "source"]), st.just("WITH"), st.sampled_from(["PRODUCTS", "MATERIALS"]),
    st.just("FROM"), st.just("one"),
)  # fmt: skip
rules = st.lists(st.one_of(generic, matching).map(list), max_size=4)


@settings(max_examples=200, deadline=None)
@given(rules=st.tuples(rules, rules, rules, rules), found=st.tuples(artifacts, artifacts, artifacts, artifacts))
def test_step_by_step_is_as_in_toto_at_the_end(rules, found):
    """Noted one by one, a run keeps to its workflow exactly where in-toto's verification of all its links passes."""
    from in_toto import verifylib
    from in_toto.exceptions import RuleVerificationError
    from in_toto.models.link import Link

    layout = {
        "steps": [
            {"name": name, "expected_materials": rules[at], "expected_products": rules[at + 1]}
            for name, at in (("one", 0), ("two", 2))
        ]
    }
    steps = [Done("one", found[0], found[1]), Done("two", found[2], found[3])]

    def in_toto(digests):
        return {name: {"sha256": digest.removeprefix("sha256:")} for name, digest in digests.items()}

    links = {
        one.name: Link(name=one.name, materials=in_toto(one.materials), products=in_toto(one.products)) for one in steps
    }
    whole = InTotoLayout.read(
        {"steps": in_toto_steps(layout), "expires": "2030-01-01T00:00:00Z", "keys": {}, "inspect": []}
    )
    try:
        verifylib.verify_all_item_rules(whole.steps, links)
        expected = True
    except RuleVerificationError:
        expected = False
    try:
        for at, now in enumerate(steps):
            workflow.require_step(declared(layout), steps[:at], now)
        kept = True
    except Denied:
        kept = False
    assert kept is expected


def test_many_at_once_hear_of_their_own_rule():
    """in-toto keeps the trace of a rule in one place for the process."""
    wrong, said = [], []

    def leave(name):
        layout = {"steps": [{"name": name, "expected_products": [["DISALLOW", name]]}]}
        for _ in range(50):
            try:
                workflow.require_step(declared(layout), [], Done(name, {}, {name: A}))
                wrong.append(name)
            except Denied as denied:
                said.append(denied.detail)
                if f"DISALLOW {name}'" not in denied.detail:
                    wrong.append(denied.detail)

    threads = [threading.Thread(target=leave, args=(f"step{at}",)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, len(said)) == ([], 200)
