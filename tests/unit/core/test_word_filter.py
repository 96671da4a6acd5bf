"""A filter never lacks what a record of its batch has, whatever stands in the records."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import record_words, word_filter

NAMES = st.sampled_from(["a", "amount", "é", "x.y", "identity", "token", ""]) | st.text(max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["ÄRGER Straße", "İstanbul", "\ud800", "a\x00b", "K 40.0", "4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e"]
    )
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
RECORDS = st.fixed_dictionaries(
    {}, optional={"decision_id": VALUES, "input": VALUES, "result": VALUES, "other": VALUES}
)


def line(document, ascii=True):
    return json.dumps(document, ensure_ascii=ascii).encode("utf-8", "surrogatepass")


def record(**members):
    return line({"decision_id": "d-1", "input": members, "result": {"allow": True}})


ENTRIES = st.lists(
    st.builds(line, RECORDS, st.booleans())
    | st.binary(max_size=40)
    | st.binary(max_size=40).map(lambda raw: b'{"decision_id": ' + raw),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(ENTRIES)
def test_no_term_of_a_record_is_lacking(entries):
    made = word_filter.build(entries)
    for entry in entries:
        for term in record_words.terms(entry):
            assert word_filter.may_hold(made, [term]), term


@settings(max_examples=200, deadline=None)
@given(ENTRIES, st.data())
def test_what_matches_is_never_ruled_out(entries, data):
    made = word_filter.build(entries)
    for entry in entries:
        leaves = list(record_words.leaves(entry))
        if not leaves:
            continue
        path, value = data.draw(st.sampled_from(leaves))
        start = data.draw(st.integers(0, len(value)))
        text, where = value[start : start + 8], [(path, value)] if path not in ("", "decision_id") else []
        wanted = record_words.Wanted(text, where)
        if wanted.in_record(entry):
            assert word_filter.may_hold(made, wanted.terms)


def test_what_no_record_has_is_ruled_out_ninety_eight_times_of_a_hundred():
    made = word_filter.build(record(id=f"p-{number}", amount=number) for number in range(1000))
    wrong = sum(word_filter.may_hold(made, [f"q{number}"]) for number in range(5000))
    assert 0 < wrong < 100


def test_the_size_is_bounded_whatever_the_words():
    words = " ".join(f"w{number}" for number in range(record_words.MAX_TERMS - 100))
    made = word_filter.build([record(text=words)])
    assert len(made) == 4 + 256 * 1024
    assert word_filter.may_hold(made, ["w0", f"w{record_words.MAX_TERMS - 101}"])


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"w{number}" for number in range(record_words.MAX_TERMS + 1)),
        "\ufdfa" * (record_words.MAX_FOLDED // 4),
        "\u3000" * (record_words.MAX_FOLDED + 1),
    ],
)
def test_very_many_words_and_letters_that_grow_make_a_filter_of_everything(text):
    made = word_filter.build([record(text=text)])
    assert len(made) < 100
    assert word_filter.may_hold(made, ["whatever"])


def test_records_that_are_alike_cost_little():
    made = word_filter.build(record(action={"name": "refund"}, amount=number % 7) for number in range(1000))
    assert len(made) < 200


@pytest.mark.parametrize("other", [b"", b"pwf1", b"pwf0" + bytes(64), b"pwf1" + bytes(63), b"x"])
def test_a_filter_of_another_form_rules_nothing_out(other):
    assert word_filter.may_hold(other, ["refund"])


def test_an_empty_filter_of_this_form_rules_all_out():
    made = word_filter.build([])
    assert not word_filter.may_hold(made, ["refund"])
    assert word_filter.may_hold(made, [])


def test_one_block_of_a_filter_is_enough_to_ask():
    made = word_filter.build([record(amount=number) for number in range(500)])
    for term in ("input.amount=40", "input.amount=499", "input.amount=500"):
        at = word_filter.offset(len(made), term)
        block = made[at : at + word_filter.BLOCK]
        assert word_filter.block_may_hold(made[:4], block, term) == word_filter.may_hold(made, [term])


def test_the_form_stays_as_it_was_written_into_databases():
    made = word_filter.build([record(amount=40)])
    assert (len(made), made[:4]) == (68, b"pwf1")
    assert [at for at in range(512) if made[4 + at // 8] >> at % 8 & 1][:6] == [6, 22, 64, 92, 96, 98]


def test_long_names_and_very_many_values_are_no_bomb():
    """A name stands in the path of all that is below it: 6,000 values below one of 50,000 characters were 530 MB."""
    values = {f"{number:04x}": f"word{number}" for number in range(6000)}
    for context in ({"k" * 50_000: values}, values | {"k" * 300: "alone"}):
        raw = line({"decision_id": "d", "input": {"context": context, "n" * 300: "far"}})
        found = record_words.leaves_of_all([raw])
        assert max(len(path) for path, _ in found) <= record_words.MAX_PATH
        assert sum(len(path) + len(value) for path, value in found) < 1_000_000
        filter = word_filter.build([raw])
        assert word_filter.may_hold(filter, ["word17", "far", record_words.PATHLESS])
        assert not word_filter.may_hold(filter, ["nothing", "elsewhere", "at", "all"])
    many = [
        line({"input": {f"m{number}": number for number in range(start, start + 5000)}})
        for start in range(0, 2 * record_words.MAX_LEAVES, 5000)
    ]
    filter = word_filter.build(many)
    assert len(filter) < 100
    assert word_filter.may_hold(filter, ["whatever", "input.m1=2"]), "it may hold everything"
