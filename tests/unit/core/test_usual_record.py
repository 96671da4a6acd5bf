import json

import pytest

from app.core import batch_words, record_entry, usual_record, word_filter


def line(number, **members):
    result = {"allow": True, "bundles": {"policy": "sha256:" + "a" * 64}, "note": f"n{number}"}
    record = {"type": record_entry.RECORD_TYPE, "path": "p", "decision_id": f"d-{number}", "result": result}
    return json.dumps(record | {"input": {"amount": number}} | members).encode()


LINES = [line(number) for number in range(40)]


def test_the_members_of_a_line():
    found = usual_record.read(line(7, result=None, error=None))
    assert found is not None
    assert (found.decision_id, found.has_path, found.has_error) == ("d-7", True, False)
    assert (found.input, found.result, found.has_result) == ({"amount": b"7"}, None, True)
    assert usual_record.read(b'{"a": 1}') == usual_record.Usual(None, False, None, None, False, None, None, False)


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"[]", b'{"input": 1}', b'{"x": "\xff"}', b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}"]
)
def test_what_is_not_usual_is_left_to_others(raw):
    assert usual_record.read(raw) is None


def test_of_very_many_members_the_rest_is_read_line_by_line_and_alike(monkeypatch):
    filters = word_filter.build(LINES)
    words = batch_words.terms(LINES, usual_record.read_all(LINES), word_filter.group_of)
    entries = list(record_entry.read_entries(LINES, usual_record.read_all(LINES)))
    monkeypatch.setattr(usual_record, "MAX_MEMBERS", 50)
    usual = usual_record.read_all(LINES)
    assert usual[0] is not None
    assert usual[-1] is None
    assert word_filter.build(LINES) == filters
    assert batch_words.terms(LINES, usual, word_filter.group_of) == words
    assert list(record_entry.read_entries(LINES, usual)) == entries


def test_members_that_do_not_belong_to_the_entries_are_refused():
    with pytest.raises(ValueError, match="zip"):
        list(record_entry.read_entries(LINES, usual_record.read_all(LINES[:-1])))
