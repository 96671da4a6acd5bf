"""What text and paths find in a record, and what they do not."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import batch_words, record_words, usual_record

RECORD = json.dumps(
    {
        "decision_id": "4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e",
        "input": {
            "action": {"name": "refund"},
            "resource": {"type": "invoice", "id": "in-7"},
            "context": {"amount": 40, "rate": 1.50, "note": "ÄRGER über job-17", "a.b": {"c": "x=y"}},
            "roles": ["clerk", {"name": "auditor"}],
            "identity": {"token": "sha256:abab"},
            "execution": {"id": "run-1", "token": "cdcd"},
        },
        "result": {"allow": False, "reasons": [{"code": "policy.denied"}], "expires_at": None, "big": 10**30},
        "nd_builtin_cache": {"time.now_ns": {"[]": 1795664657}},
        "labels": {"id": "e1ec62d4", "version": "1.22.2", "a=b": "c", "list[0]": "x"},
        "masked": ["/input/identity", "/input/warrant"],
        "metrics": {"counter": 1, "timer_ns": 2.50},
        "requested_by": "10.0.0.1:80",
    }
).encode()


def matches(raw, text, where):
    return record_words.Wanted(text, where).in_record(raw)


@pytest.mark.parametrize(
    "text",
    [
        "refund", "REFUND", "policy.denied", "Policy", "denied invoice", "in-7", "job-17", "ärger", "A\u0308rger",
        "x=y",
        "4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e", "40", "1.5", "false", "  clerk ", "",
    ],
)  # fmt: skip
def test_words_are_found(text):
    assert matches(RECORD, text, [])


@pytest.mark.parametrize(
    "text",
    ["refun", "job-1", "job-170", "denied.policy", "in7", "17-job", "abab", "cdcd", "amount", "1795664657", "4f0c1d2e"],
)
def test_other_words_are_not(text):
    assert not matches(RECORD, text, [])


@pytest.mark.parametrize("text", ["refu*", "job-1*", "job-17*", "policy.den* inv*", "4f0c1d2e-6f*"])
def test_an_asterisk_stands_for_the_rest_of_a_word(text):
    assert matches(RECORD, text, [])
    assert set(batch_words.terms([RECORD], usual_record.read_all([RECORD]))).issuperset(record_words.Wanted(text).terms)


@pytest.mark.parametrize("text", ["ob-1*", "ref*nd", "*", "refund *", "job-2*", "-17 *"])
def test_an_asterisk_elsewhere_is_an_asterisk(text):
    assert not matches(RECORD, text, [])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input.context.amount", "40"),
        ("input.context.amount", "40.0"),
        ("input.context.amount", "4e1"),
        ("input.context.rate", "1.5"),
        ("input.context.a.b.c", "x=y"),
        ("input.roles", "clerk"),
        ("input.roles.name", "auditor"),
        ("result.allow", "false"),
        ("result.reasons.code", "policy.denied"),
        ("result.expires_at", "null"),
        ("result.big", "1000000000000000000000000000000"),
        ("result.big", "1e30"),
        ("decision_id", "4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e"),
        ("nd_builtin_cache.time.now_ns.[]", "1795664657"),
        ("labels.version", "1.22.2"),
        ("labels.a=b", "c"),
        ("masked", "/input/warrant"),
        ("metrics.timer_ns", "25e-1"),
        ("requested_by", "10.0.0.1:80"),
        ("input.identity.token", "sha256:abab"),
        ("input.execution.token", "cdcd"),
    ],
)
def test_values_are_found_at_their_paths(path, value):
    assert matches(RECORD, "", [(path, value)])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input.context.amount", "41"),
        ("input.context.amount", ""),
        ("context.amount", "40"),
        ("input.context", "40"),
        ("input.roles", "Clerk"),
        ("result.big", "1000000000000000000000000000001"),
        ("labels", "1.22.2"),
        ("labels.version", "1.22"),
        ("labels.version.x", "1.22.2"),
        ("labels.a", "b=c"),
        ("version", "1.22.2"),
        ("masked", "/input/warran"),
        ("input.identity", "sha256:abab"),
    ],
)
def test_other_values_are_not(path, value):
    assert not matches(RECORD, "", [(path, value)])


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b'"cl\\u0065rk"', "clerk"),
        (b'"a\\u003cb"', "a<b"),
        (b'"a\\/b"', "a/b"),
        (b'"say \\"so\\""', 'say "so"'),
        (b'"\xc3\xa4"', "\u00e4"),
        (b"4e1", "40"),
        (b"40.0", "40"),
        (b'"4e1"', "40"),
        (b"NaN", "nan"),
        (b"-Infinity", "-inf"),
        (b"true", "true"),
    ],
)
def test_a_value_is_found_however_it_is_written(written, value):
    assert matches(b'{"input": {"a": ' + written + b"}}", "", [("input.a", value)])


def test_a_path_leads_through_names_with_dots_and_through_arrays():
    raw = json.dumps({"a.b": [{"c": 1}, {"": {"d.": [[2]]}}], "a": {"b.c": 3}, "": {"labels": 4}}).encode()
    for path, value in (("a.b.c", "1"), ("a.b.c", "3"), ("a.b..d.", "2"), (".labels", "4")):
        assert matches(raw, "", [(path, value)]), path
    assert not matches(raw, "", [("labels", "4")])


def test_a_path_that_filters_do_not_know_is_as_long_as_it_is():
    deep = {"x": "found"}
    for _ in range(90):
        deep = {"name": deep}
    raw = json.dumps({"input": deep, "labels": deep}).encode()
    path = ".".join(["input", *["name"] * 90, "x"])
    assert len(path) > record_words.MAX_PATH
    assert matches(raw, "", [(path, "found")])
    assert matches(raw, "", [(path.replace("input", "labels"), "found")])
    assert not matches(raw, "", [(path, "lost")])


@pytest.mark.parametrize(
    "raw",
    [
        b'{"labels": {"a": "x"}, "result": {"b": 01}}',
        b'{"labels": {"a": "x"}, "result": "\xff"}',
        b'{"labels": {"a": "x"}',
        b'[{"labels": {"a": "x"}}]',
        b'{"labels": {"a": "x"}, "result": ' + b"[" * 200 + b"]" * 200 + b"}",
    ],
)
def test_what_is_no_record_has_no_paths(raw):
    assert not matches(raw, "", [("labels.a", "x")])


def test_two_values_are_not_taken_for_one_another():
    both = [("labels.a", "b=c"), ("labels.a=b", "c")]
    assert not matches(b'{"labels": {"a": "b=c"}}', "", both)
    assert matches(b'{"labels": {"a": "b=c", "a=b": "c"}}', "", both)


@pytest.mark.parametrize(
    "path", ["input", "result", "decision_id", "labels.id", "input.identity.x", "input." + "n" * 300]
)
def test_filters_are_not_asked_for_what_they_do_not_know(path):
    assert record_words.Wanted("refund", [(path, "x"), ("input.a", "1")]).terms == ["refund", "input.a=1"]


def test_a_record_without_such_a_member_is_ruled_out_at_once():
    wanted = record_words.Wanted("", [("labels.version", "1")])
    assert not wanted.may_be_in(b'{"labels": {"id": 1}}')
    assert wanted.may_be_in(b'{"labels": {"version": 1}}')


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (RECORD, [("." * (1020 - number), "") for number in range(8)]),
        (RECORD, [("i.n.p.u.t." * 100 + "labels" * number, "40") for number in range(8)]),
        (b'{"input": {"a": "' + b"1" * 20_000 + b'"}}', [("input.a", "1" * 1000 + "2")]),
    ],
)
def test_a_question_that_is_made_to_be_expensive_costs_little_a_record(raw, where):
    wanted = record_words.Wanted("", where)
    began = time.process_time()
    assert not any(wanted.in_record(raw) for _ in range(1000))
    assert time.process_time() - began < 0.5


def test_a_record_with_all_of_very_many_names_is_found():
    names = [f"name-{one}" for one in range(100)]
    raw = json.dumps({"labels": {"-".join(names): "x", ".".join(names): "y"}}).encode()
    assert matches(raw, "", [(".".join(["labels", *names]), "y")])
    assert not matches(raw, "", [(".".join(["labels", *names]), "x")])


def test_text_and_values_must_all_hold():
    assert matches(RECORD, "refund in-7", [("input.context.amount", "40"), ("result.allow", "false")])
    assert not matches(RECORD, "refund", [("input.context.amount", "40"), ("result.allow", "true")])


@st.composite
def _numbers(draw):
    """A number in two ways: its point elsewhere, zeros around it, and the exponent that makes up for it."""
    digits, ways = draw(st.text("0123456789", min_size=1, max_size=6)), []
    for _ in range(2):
        before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        text = "0" * before + digits + "0" * after
        at = draw(st.integers(1, len(text)))
        whole, fraction = text[:at].lstrip("0") or "0", text[at:]
        power = len(fraction) - after
        mark = draw(st.sampled_from(["e", "E", "e+" if power >= 0 else "e"]))
        ways.append(whole + (f".{fraction}" if fraction else "") + (f"{mark}{power}" if power or after else ""))
    return ways


@given(_numbers(), st.booleans())
def test_a_number_is_found_however_it_is_written(ways, as_text):
    one, other = ways
    raw = f'{{"input": {{"a": {json.dumps(one) if as_text else one}}}}}'.encode()
    wanted = record_words.Wanted("", [("input.a", other)])
    assert record_words.pair("p", one) == record_words.pair("p", other)
    assert wanted.may_be_in(raw) and wanted.in_record(raw)


def test_a_number_that_no_record_has_is_ruled_out_at_once():
    wanted = record_words.Wanted("", [("input.context.amount", "60.50")])
    assert not wanted.may_be_in(b'{"input": {"context": {"amount": 65, "other": 6.5}}}')
    assert wanted.may_be_in(b'{"input": {"context": {"amount": 0.605e2}}}')


@pytest.mark.parametrize("number", ["0", "-0", "0.0", "00", "0e5"])
def test_zero_is_one_number(number):
    assert record_words.pair("p", number) == "p=0"


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"decision_id": "broken", "input": {"word": ', True),
        (b'{"input": {"a": "\\ud800 word"}}', True),
        (b'{"input": {"a": 1e400, "b": "word"}}', True),
        (b'{"input": {"a": ' + b"9" * 6000 + b', "b": "word"}}', True),
        (b'{"input": ' + b"[" * 5000 + b'"word"' + b"]" * 5000 + b"}", True),
        (b'{"input": {"a": "\xff word"}}', True),
        (b'{"input": "word"}', True),
        (b'["word"]', False),
        (b"a word of OPA's", False),
        (b"", False),
    ],
)
def test_poison_is_searched_as_far_as_it_goes(raw, found):
    assert matches(raw, "word", []) is found


def test_depth_counts_brackets_outside_of_strings():
    many = json.dumps({"input": {"list": ["[" * 200, *([{}] * 200)], "deep": "word"}}).encode()
    assert matches(many, "", [("input.deep", "word")])


@pytest.mark.parametrize("escaped", [True, False])
def test_how_a_value_is_written_makes_no_difference(escaped):
    raw = json.dumps({"input": {"note": "a\\b ÄRGER <tag> \u212a9 end"}}, ensure_ascii=escaped).encode()
    assert all(matches(raw, text, []) for text in ("a\\b", "ärger", "<tag>", "k9", "END"))
    assert not matches(raw, "b-ärger", [])


_texts = st.text(alphabet='aAbß1é\\" -*', max_size=6)


@given(st.lists(_texts, min_size=1, max_size=4), _texts, st.none() | _texts)
def test_what_one_record_may_hold_many_together_may_hold(values, text, where):
    """Frames of records are looked at before each of them is."""
    wanted = record_words.Wanted(text, [] if where is None else [("input.a", where)])
    records = [json.dumps({"input": {"a": value}}, ensure_ascii=number % 2 == 0) for number, value in enumerate(values)]
    raw = [record.encode() for record in records]
    assert wanted.may_be_in(b"\n".join(raw) + b"\n") or not any(map(wanted.may_be_in, raw))
    assert not any(wanted.in_record(one) and not wanted.may_be_in(one) for one in raw)
