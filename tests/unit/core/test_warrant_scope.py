"""Patterns and constraints: what is covered, and that nothing narrower ever covers more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import UsageError
from app.core.warrant_scope import (
    Constraint,
    beyond,
    covers,
    covers_resource,
    loosened,
    parse_constraints,
    validated,
    violated,
)


@pytest.mark.parametrize(
    ("patterns", "text", "covered"),
    [
        (["refund"], "refund", True),
        (["refund"], "refunds", False),
        (["refund"], "Refund", False),
        (["refund*"], "refund", True),
        (["refund*"], "refunds", True),
        (["refund*"], "refun", False),
        (["*"], "", True),
        (["*"], "anything*", True),
        (["a", "b*"], "bc", True),
        (["read:*"], "read:a*", True),
        (["\u212a"], "k", False),  # the Kelvin sign is no k, whatever lower() says
        (["caf\u00e9"], "cafe\u0301", False),
        ([], "refund", False),
    ],
)
def test_patterns_cover_exact_texts_and_prefixes(patterns, text, covered):
    assert covers(patterns, text) is covered


@pytest.mark.parametrize(
    ("kind", "identifier", "covered"),
    [("payment", "p-1", True), ("payment", "", True), ("payments", "p-1", False), ("payment/p-1", "x", False)],
)
def test_a_type_with_a_slash_is_never_covered(kind, identifier, covered):
    assert covers_resource(["payment/*"], kind, identifier) is covered
    assert covers_resource(["*"], "a/b", "c") is False


@pytest.mark.parametrize(
    ("patterns", "allowed", "first"),
    [
        (["refund"], ["refund", "read*"], None),
        (["read:a", "read:b*"], ["read*"], None),
        (["*"], ["*"], None),
        (["read*"], ["read"], "read*"),
        (["rea*"], ["read*"], "rea*"),
        (["read", "*"], ["read*"], "*"),
        (["a:*"], ["a:**"[:-1]], None),
        ([], ["read"], None),
    ],
)
def test_the_first_pattern_that_goes_beyond(patterns, allowed, first):
    assert beyond(patterns, allowed) == first


PATTERNS = st.lists(
    st.text(alphabet="ab", max_size=3).flatmap(lambda t: st.sampled_from([t + "*", t or "a"])), max_size=3
)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(PATTERNS, PATTERNS, st.lists(st.text(alphabet="ab*", max_size=5), min_size=8, max_size=8))
def test_what_does_not_go_beyond_covers_nothing_more(patterns, allowed, texts):
    if beyond(patterns, allowed) is None:
        for text in [*texts, *patterns, *(pattern[:-1] for pattern in patterns)]:
            assert not covers(patterns, text) or covers(allowed, text)


def constraint(**members):
    return Constraint.model_validate({("in" if name == "in_" else name): value for name, value in members.items()})


@pytest.mark.parametrize(
    ("bound", "value", "holds"),
    [
        (constraint(at_most=100), 100, True),
        (constraint(at_most=100), 100.5, False),
        (constraint(at_most=100), "100", False),
        (constraint(at_most=100), None, False),
        (constraint(at_most=1), True, False),
        (constraint(at_least=1), 1.0, True),
        (constraint(at_least=1, at_most=3), 0, False),
        (constraint(at_least=1, at_most=3), 4, False),
        (constraint(in_=["a", 1]), "a", True),
        (constraint(in_=["a", 1]), 1.0, True),
        (constraint(in_=["a", 1]), True, False),
        (constraint(in_=[True]), 1, False),
        (constraint(in_=["a"]), ["a"], False),
        (constraint(in_=["1"]), 1, False),
    ],
)
def test_a_value_of_another_type_never_satisfies(bound, value, holds):
    assert bound.holds(value) is holds


def test_the_first_member_that_is_missing_or_out_of_bounds():
    bounds = {"amount": constraint(at_most=5), "host": constraint(in_=["a"])}
    assert violated(bounds, {"amount": 5, "host": "a", "more": None}) is None
    assert violated(bounds, {"amount": 5}) == "host"
    assert violated(bounds, {"amount": 6, "host": "b"}) == "amount"
    assert violated({}, {}) is None


@pytest.mark.parametrize(
    ("child", "parent", "within"),
    [
        (constraint(at_most=5), constraint(at_most=5), True),
        (constraint(at_most=5, at_least=1), constraint(at_most=5), True),
        (constraint(at_most=6), constraint(at_most=5), False),
        (constraint(at_least=1), constraint(at_most=5), False),
        (constraint(at_most=5), constraint(at_most=5, at_least=0), False),
        (constraint(at_least=2), constraint(at_least=1), True),
        (constraint(in_=["a"]), constraint(in_=["a", "b"]), True),
        (constraint(in_=["a", "c"]), constraint(in_=["a", "b"]), False),
        (constraint(in_=[1]), constraint(at_most=5), False),
        (constraint(at_most=1), constraint(in_=[1]), False),
        (constraint(in_=[True]), constraint(in_=[1]), False),
    ],
)
def test_a_constraint_within_another_is_of_its_kind_and_no_looser(child, parent, within):
    assert child.is_within(parent) is within


NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -1.5])
VALUES = NUMBERS | st.booleans() | st.sampled_from(["a", "b", "1"])
BOUNDS = st.one_of(
    st.fixed_dictionaries({"at_most": NUMBERS}),
    st.fixed_dictionaries({"at_least": NUMBERS}),
    st.fixed_dictionaries({"at_least": NUMBERS, "at_most": NUMBERS}),
    st.fixed_dictionaries({"in": st.lists(VALUES, min_size=1, max_size=3)}),
)
MANY = st.dictionaries(st.sampled_from("xyz"), BOUNDS.map(Constraint.model_validate), max_size=3)
CONTEXTS = st.dictionaries(st.sampled_from("xyz"), VALUES | st.none() | st.lists(VALUES, max_size=1), max_size=3)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(MANY, MANY, CONTEXTS)
def test_constraints_that_are_not_loosened_let_nothing_more_pass(child, parent, context):
    if loosened(child, parent) is None and violated(child, context) is None:
        assert violated(parent, context) is None


def test_constraints_as_people_write_them():
    written = ["amount<=100", "amount >= 1.5", 'host=a.example, b.example,443,"8443",true']
    assert {name: bound.document() for name, bound in parse_constraints(written).items()} == {
        "amount": {"at_most": 100, "at_least": 1.5},
        "host": {"in": ["a.example", "b.example", 443, "8443", True]},
    }
    assert [str(bound) for bound in parse_constraints(written).values()] == [
        ">= 1.5 and <= 100",
        "in a.example, b.example, 443, 8443, true",
    ]


@pytest.mark.parametrize(
    "written",
    [
        ["amount"],
        ["amount<100"],
        ["amount<=abc"],
        ["<=100"],
        ["amount<="],
        ["amount<=NaN"],
        ["amount<=1e999"],
        ["amount<=true"],
        ["amount<=1", "amount<=2"],
        ["amount<=1", "amount=1"],
        [f"{'x' * 129}<=1"],
        [f"host={','.join('x' * 65)}"],
    ],
)
def test_what_is_no_constraint_is_refused_in_one_line(written):
    with pytest.raises(UsageError) as refused:
        parse_constraints(written)
    assert str(refused.value).isprintable()


def test_a_file_of_constraints_says_what_is_wrong_and_where():
    with pytest.raises(UsageError, match=r"limits\.json: .*at_most"):
        validated({"amount": {"at_most": "many"}}, "limits.json")
    assert validated({"amount": {"at_most": 3}}, "limits.json") == {"amount": constraint(at_most=3)}
