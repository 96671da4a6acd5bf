"""Records of the usual form are read quickly, and alike: whatever `TypedLines` reads, `read_line` reads the same."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.control.record_lines import read_line, read_lines
from app.control.typed_lines import TypedLines
from app.core import usual_record

from .conftest import record
from .test_records import POISON


def read_typed(raw):
    return TypedLines().read(raw, usual_record.read(raw))


MODE = {"kind": "shadow", "reasons": [{"code": "policy.denied"}, {"code": None}, {}]}

#: Records as OPA writes them: what must be read quickly.
USUAL = {
    "allow": record(),
    "deny": record(allow=False),
    "no input": record(input=None),
    "start": record(result={"decision": {"allow": True, "subject": {"issuer": "i", "id": "s"}}, "token": "t"}),
    "both": record(result={"allow": False, "decision": {"allow": True}}),
    "mode": record(result={"allow": True, "reasons": [], "mode": MODE}),
    "execution": record(input={"execution": {"id": "e-1"}}),
    "execution of the result": record(
        input={"execution": {"id": "e-1"}}, result={"allow": True, "execution": "e-2"}
    ),
    "error": record(error={"code": "eval_conflict_error"}),
    "no error": record(error=None),
    "other letters": record(input={"action": {"name": "überweisen"}, "resource": {"type": "\u2028", "id": "\0"}}),
    "long": record(input={"action": {"name": "a" * 5000}}),
}  # fmt: skip


@pytest.mark.parametrize("line", USUAL.values(), ids=USUAL.keys())
def test_what_is_usual_is_read_quickly_and_alike(line):
    found = read_typed(line[:-1])
    assert found is not None
    assert found == read_line(line[:-1])


@pytest.mark.parametrize("line", POISON.values(), ids=POISON.keys())
def test_poison_is_read_alike(line):
    quick = read_typed(line[:-1])
    assert quick is None or quick == read_line(line[:-1])


ODD = {
    "another type": record(type="x"),
    "no type": record(type=None),
    "not UTF-8 where nothing is read": record().replace(b'"placet/decision"', b'"\xff"'),
    "deep": record().replace(b'"in-7"', b"[" * 201 + b"]" * 201),
    "a number": record(input={"resource": {"id": 7}}),
    "result null": record(result=None),
    "half a character": record(input={"resource": {"id": "\ud800"}}),
    "a message": b"2026/01/31 12:00:00 http: TLS handshake error\n",
    "empty": b"\n",
    "no path": b'{"type": "openpolicyagent.org/decision_logs"}\n',
}


@pytest.mark.parametrize("line", ODD.values(), ids=ODD.keys())
def test_what_is_odd_is_left_to_the_other(line):
    assert read_typed(line[:-1]) is None
    assert list(read_lines([line[:-1]], [usual_record.read(line[:-1])])) == [read_line(line[:-1])]


#: Values that columns are made of, and others in their places.
names = (
    *("allow", "reasons", "code", "subject", "issuer", "id", "bundles", "policy", "library", "mode", "kind"),
    *("execution", "decision", "action", "name", "resource", "type"),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["", "d1", "a\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(names), inner, max_size=4),
    max_leaves=12,
)
members = st.dictionaries(
    st.sampled_from(["type", "path", "decision_id", "input", "result", "timestamp", "error"]), values, max_size=7
)


@given(members, st.booleans())
@settings(max_examples=1000, deadline=None)
@example({"path": "p", "result": {"allow": None}}, True)
@example({"path": "p", "result": {"reasons": [{"code": "a"}] * 40}}, True)
@example({"path": None, "result": {"decision": {"allow": True}}, "error": False}, True)
@example({"path": "p", "result": {"allow": True, "execution": ""}, "input": {"execution": {"id": "e"}}}, True)
def test_any_members_are_read_alike(members, typed):
    line = json.dumps({"path": "p", **members}, ensure_ascii=typed).encode("utf-8", "surrogatepass")
    quick = read_typed(line)
    assert quick is None or quick == read_line(line)


@given(st.sampled_from(list(USUAL.values())), st.data())
@settings(max_examples=1500, deadline=None)
def test_any_changed_bytes_are_read_alike(line, data):
    """Where one parser stops at what another passes over, a record would be a decision for one only."""
    raw = bytearray(line[:-1])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        some = st.sampled_from(list(b'"\\{}[],:019.eE+-tn \t\r\0\x01\x7f\xff\xc3\xa4u'))
        kind = data.draw(st.sampled_from(["set", "cut", "add", "twice"]))
        if kind == "set":
            raw[at] = data.draw(some)
        elif kind == "cut" and len(raw) > 1:
            del raw[at]
        elif kind == "add":
            raw.insert(at, data.draw(some))
        else:
            end = min(len(raw), at + data.draw(st.integers(1, 40)))
            raw[at:at] = raw[at:end]
    quick = read_typed(bytes(raw))
    assert quick is None or quick == read_line(bytes(raw))


@pytest.mark.parametrize("name", ["allow", "result", "input", "decision_id", "path"])
def test_of_two_members_of_one_name_the_last_counts_for_both(name):
    for other in (b"null", b"true", b"{}", b'"x"'):
        for line in (record(), record(allow=False)):
            twice = line[:-2] + b', "%s": %s}' % (name.encode(), other)
            quick = read_typed(twice)
            assert quick is None or quick == read_line(twice)
