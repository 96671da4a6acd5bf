"""A filter never lacks what a record of its batch has, whatever stands in the records."""

import json
import os
import random
import subprocess
import sys
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import batch_words, record_frames, record_words, usual_record, word_filter
from app.core.word_filter import ALL_GROUPS, BLOCK

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


def damaged(raw, at, byte):
    """One byte of a record is another."""
    at %= len(raw)
    return raw[:at] + byte + raw[at + 1 :]


ENTRIES = st.lists(
    st.builds(line, RECORDS, st.booleans())
    | st.builds(damaged, st.builds(line, RECORDS, st.booleans()), st.integers(0, 999), st.binary(max_size=1))
    | st.binary(max_size=40)
    | st.binary(max_size=40).map(lambda raw: b'{"decision_id": ' + raw),
    max_size=6,
)


FORMS = pytest.mark.parametrize("form", [word_filter.OLDEST, word_filter.NEWEST])


def terms(entry):
    """As the exact search reads the record, one value after the other."""
    leaves = list(record_words.leaves(entry))
    found = {word for _, text in leaves for word in record_words.words(text)}
    found |= {record_words.PATHLESS for path, _ in leaves if not path}
    return found | {record_words.pair(*leaf) for leaf in leaves if leaf[0] not in record_words.BARE}


def terms_of(entries):
    return set(batch_words.terms(entries, usual_record.read_all(entries)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.builds(line, RECORDS), max_size=6))
def test_many_records_have_the_words_of_each(entries):
    assert terms_of(entries) == {term for entry in entries for term in terms(entry)}


def asked(filter, text):
    """The groups that may have a term."""
    return groups_of(filter, word_filter.term(text))


def groups_of(filter, term):
    at = 4 + BLOCK * word_filter.block_at(filter[:4], (len(filter) - 4) // BLOCK, term.number)
    return word_filter.groups(filter[:4], filter[at : at + BLOCK], term)


def spread(entries, chance):
    """The same entries and erased ones, with others between them, so that they come into several groups."""
    return [
        entry for one in entries for entry in ([b""] * chance.randint(0, 40) + [None] * chance.randint(0, 40) + [one])
    ]


@FORMS
@pytest.mark.parametrize("member", ["identity", "warrant", "proof", "environment", "a"])
@pytest.mark.parametrize("value", [b'"\xff"', b'{"a": "\xc3"}', b'"\\q"', b"01", b"[1,]", b'"\xed\xa0\x80"', b"NaN"])
def test_what_makes_a_record_no_json_in_a_token_hides_no_word(form, member, value):
    """Such a record has no paths, and all its words count."""
    raw = b'{"decision_id": "d-1", "input": {"%b": %b, "b": "hello"}, "result": {}}' % (member.encode(), value)
    made = word_filter.build([raw], form)
    assert word_filter.may_hold(made, terms(raw)) and word_filter.may_hold(made, ["hello"])
    if record_words.Wanted("input").in_record(raw):
        assert word_filter.may_hold(made, ["input", member])


@FORMS
@settings(max_examples=200, deadline=None)
@given(ENTRIES, st.randoms(use_true_random=False))
def test_no_term_of_a_record_is_lacking_in_its_group(form, entries, chance):
    entries = spread(entries, chance)
    made = word_filter.build(entries, form)
    assert made[:4] == form
    for number, entry in enumerate(entries):
        for term in terms(entry or b""):
            assert asked(made, term) >> word_filter.group_of(number) & 1, term
        if entry:
            assert word_filter.may_hold(made, terms(entry))


@settings(max_examples=100, deadline=None)
@given(ENTRIES, st.randoms(use_true_random=False), st.booleans(), st.data())
def test_what_matches_is_found_in_the_groups_that_may_have_it(entries, chance, frames, data):
    entries = spread([one for one in entries if b"\n" not in one], chance)
    if not frames:
        entries = [entry or b"" for entry in entries] or [b""]
    key = "a.frames" if frames else "a.jsonl"
    body = record_frames.pack(entries) if frames else b"\n".join(entries) + b"\n"
    made = word_filter.build(entries)
    for number, entry in enumerate(entries):
        leaves = list(record_words.leaves(entry or b""))
        if not leaves:
            continue
        path, value = data.draw(st.sampled_from(leaves))
        start = data.draw(st.integers(0, len(value)))
        text, where = value[start : start + 8], [(path, value)] if path not in ("", "decision_id") else []
        wanted = record_words.Wanted(text, where)
        if not wanted.in_record(entry):
            continue
        assert word_filter.may_hold(made, wanted.terms)
        groups = ALL_GROUPS
        for term in wanted.terms:
            groups &= asked(made, term)
        assert number in record_frames.sift(key, body, wanted.may_be_in, groups).found


@FORMS
def test_the_same_entries_make_the_same_filter_in_whatever_order_their_words_are(form):
    """The order of a set of texts is another in every process."""
    script = f"""
import json
from app.core import word_filter
entries = [json.dumps({{"input": {{"id": f"p-{{number}}", "amount": number % 40}}}}).encode() for number in range(300)]
print(word_filter.build(entries, {form!r}).hex())
"""
    made = {
        subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(made) == 1


def test_what_no_record_has_is_ruled_out_ninety_eight_times_of_a_hundred():
    made = word_filter.build([record(id=f"p-{number}", amount=number) for number in range(1000)])
    wrong = sum(word_filter.may_hold(made, [f"q{number}"]) for number in range(5000))
    assert 0 < wrong < 100


def batches_with_much_in_common(chance):
    """300 batches of eight records, each in a group of its own, of one vocabulary."""
    known = [f"w{number}" for number in range(1000)]
    for batch in range(300):
        texts = [" ".join([*chance.sample(known, 400), f"own{batch}-{group}"]) for group in range(8)]
        yield [one for text in texts for one in [record(text=text), *[None] * 15]]


def test_no_term_is_everywhere_by_ill_luck():
    """Where a term has the same neighbours in every batch, one that none has is held by all of them."""
    batches = list(batches_with_much_in_common(random.Random(7)))
    absent = [word_filter.term(f"q{number}") for number in range(500, 700)]
    worst, rate = {}, {}
    for form in (word_filter.OLDEST, word_filter.NEWEST):
        filters = [word_filter.build(entries, form) for entries in batches]
        counts = [sum(groups_of(filter, one) != 0 for filter in filters) for one in absent]
        worst[form], rate[form] = max(counts) / len(filters), sum(counts) / len(filters) / len(absent)
    assert rate[word_filter.NEWEST] < 0.02, rate
    assert worst[word_filter.NEWEST] < 0.1, worst
    assert worst[word_filter.OLDEST] > 0.9, worst


def test_a_term_of_one_record_is_in_one_group():
    made = word_filter.build([record(id=f"p-{number}", amount=number) for number in range(1000)])
    groups = [asked(made, f"input.id=p-{number}") for number in range(1000)]
    assert sum(one.bit_count() for one in groups) < 1030
    assert asked(made, "result.allow=true") == ALL_GROUPS


def test_a_record_must_have_all_the_terms_itself():
    entries = [record(a="one"), *[b""] * 15, record(a="two")]
    made = word_filter.build(entries)
    assert (asked(made, "one"), asked(made, "two")) == (1, 2)
    assert not word_filter.may_hold(made, ["one", "two"])
    assert word_filter.may_hold(made, ["one", "input.a=one"])
    assert word_filter.may_hold(word_filter.build(entries, word_filter.OLDEST), ["one", "two"])


def test_entries_keep_their_groups_when_others_are_erased():
    entries = [record(id=f"p-{number}") for number in range(200)]
    left = [entry if number in (0, 33, 199) else None for number, entry in enumerate(entries)]
    made = word_filter.build(left)
    assert [asked(made, f"input.id=p-{number}") for number in (0, 33, 199)] == [1, 4, 1 << 12 % 8]


@FORMS
def test_the_size_is_bounded_whatever_the_words(form):
    words = " ".join(f"w{number}" for number in range(batch_words.MAX_TERMS - 100))
    made = word_filter.build([record(text=words)], form)
    assert 220 * 1024 < len(made) <= 4 + 256 * 1024
    assert word_filter.may_hold(made, ["w0", f"w{batch_words.MAX_TERMS - 101}"])


@pytest.mark.parametrize(
    "text",
    [
        " ".join(f"w{number}" for number in range(batch_words.MAX_TERMS + 1)),
        "\ufdfa" * (batch_words.MAX_FOLDED // 4),
        "\u3000" * (batch_words.MAX_FOLDED + 1),
    ],
)
def test_very_many_words_and_letters_that_grow_make_a_filter_of_everything(text):
    for form in (word_filter.OLDEST, word_filter.NEWEST):
        made = word_filter.build([record(text=text)], form)
        assert len(made) < 100
        assert word_filter.may_hold(made, ["whatever"])
    assert word_filter.build([record(text=text)], word_filter.form_of(made)) == made


@pytest.mark.parametrize("size", [batch_words.MAX_TERMS // 8 - 100, batch_words.MAX_TERMS // 8 + 100])
def test_what_a_batch_may_take_is_bounded_over_all_groups(size):
    """Terms of every group count as often as they are put in."""
    raw = record(text=" ".join(f"w{number}" for number in range(size)))
    entries = [raw if number % 16 == 0 else None for number in range(128)]
    assert (word_filter.build(entries)[:4] == word_filter.NEWEST) is (size < batch_words.MAX_TERMS // 8)
    assert word_filter.build(entries, word_filter.OLDEST)[:4] == word_filter.OLDEST


def test_records_that_are_alike_cost_little():
    made = word_filter.build([record(action={"name": "refund"}, amount=number % 7) for number in range(1000)])
    assert len(made) < 500


@pytest.mark.parametrize("other", [b"", b"pwf1", b"pwf2", b"pwf0" + bytes(64), b"pwf1" + bytes(63), b"pwf2" + bytes(9)])
def test_a_filter_of_another_form_rules_nothing_out(other):
    assert word_filter.may_hold(other, ["refund"])
    assert word_filter.groups(other[:4], other[4:], word_filter.term("refund")) == ALL_GROUPS


@FORMS
@pytest.mark.parametrize("entries", [[], [None] * 20])
def test_an_empty_filter_of_this_form_rules_all_out(form, entries):
    made = word_filter.build(entries, form)
    assert made == form + bytes(64)
    assert not word_filter.may_hold(made, ["refund"])
    assert word_filter.may_hold(made, [])


def test_forms_stay_as_they_were_written_into_databases():
    made = word_filter.build([record(amount=40)], word_filter.OLDEST)
    assert (len(made), made[:4]) == (68, b"pwf1")
    assert set_in(made)[:6] == [6, 22, 64, 92, 96, 98]
    made = word_filter.build([record(amount=40), *[None] * 15, record(amount=41)])
    assert (len(made), made[:4]) == (68, b"pwf2")
    assert set_in(made)[:6] == [1, 5, 18, 26, 42, 48]
    entries = [record(id=f"p-{number}", amount=number % 40) for number in range(300)]
    digests = [sha256(word_filter.build(entries, form)).hexdigest()[:16] for form in (b"pwf1", b"pwf2")]
    assert digests == ["fd655d84b8f3b6f4", "354158748197ce7e"]


def set_in(made):
    return [at for at in range(8 * (len(made) - 4)) if made[4 + at // 8] >> at % 8 & 1]


def test_no_other_form_is_made():
    with pytest.raises(ValueError, match="pwf3"):
        word_filter.build([], b"pwf3")


def test_long_names_and_very_many_values_are_no_bomb():
    """A name stands in the path of all that is below it: 6,000 values below one of 50,000 characters were 530 MB."""
    values = {f"{number:04x}": f"word{number}" for number in range(6000)}
    for context in ({"k" * 50_000: values}, values | {"k" * 300: "alone"}):
        raw = line({"decision_id": "d", "input": {"context": context, "n" * 300: "far"}})
        found = batch_words.leaves_of_all([raw], usual_record.read_all([raw]))
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
