import json
import sys

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core import record_entry, usual_record
from app.core.record_entry import RECORD_TYPE, Entry, read_entry
from tests.soon import soon

POLICY, LIBRARY, STATE = (f"sha256:{digit * 64}" for digit in "abc")
RESULT = {"allow": True, "bundles": {"policy": POLICY, "library": LIBRARY}, "state": STATE, "reasons": []}


def record(result=RESULT, **members):
    return {"decision_id": "d-1", "input": {}, "result": result, "type": RECORD_TYPE, **members}


def line(*given, **members):
    return json.dumps(record(*given, **members), separators=(",", ":")).encode()


def of_members(raw):
    """As one of a batch is read."""
    [found] = record_entry.read_entries([raw], usual_record.read_all([raw]))
    return found


@pytest.fixture(params=["quick", "scanned", "of members"])
def read(request, monkeypatch):
    """All ways in which an entry is read."""
    if request.param == "of members":
        return of_members
    if request.param == "scanned":

        def fails(raw):
            raise RecursionError

        monkeypatch.setattr(record_entry, "_decode", fails)
    return read_entry


def test_a_decision(read):
    assert read(line()) == Entry("d-1", True, POLICY, LIBRARY, STATE, None)
    assert read(line({**RESULT, "allow": False})) == Entry("d-1", False, POLICY, LIBRARY, STATE, None)


def test_the_execution_is_that_of_the_result(read):
    """What a request says of itself is no proof: only the result names an execution whose token was verified."""
    assert read(line({**RESULT, "execution": "e-1"})) == Entry("d-1", True, POLICY, LIBRARY, STATE, "e-1")
    assert read(line({"decision": {**RESULT, "execution": "e-1"}})).execution == "e-1"
    claimed = record(RESULT) | {"input": {"execution": {"id": "e-1"}}}
    assert read(json.dumps(claimed).encode()).execution is None
    assert read(line({**RESULT, "execution": {"id": "e-1"}})).execution is None
    assert read(line({**RESULT, "execution": ""})).execution is None
    assert read(line({**RESULT, "execution": "", "decision": 5})).execution is None


def test_the_decision_in_an_executions_start(read):
    assert read(line({"decision": RESULT, "claims": {}})) == Entry("d-1", True, POLICY, LIBRARY, STATE, None)
    # What a policy could put there does not count where the result is a decision itself.
    assert read(line({"allow": False, "decision": RESULT})) == Entry("d-1", False, None, None, None, None)
    assert read(line({"allow": None, "decision": RESULT})) == Entry("d-1", False, None, None, None, None)
    assert (
        read(line({"decision": "no"})) == read(line({"decision": None})) == Entry("d-1", False, None, None, None, None)
    )


@pytest.mark.parametrize("result", [None, {}, [], "x", 1, [RESULT], {"allow": "true"}, {"allow": 1}, {"allow": []}])
def test_only_true_allows(read, result):
    assert read(line(result)) == Entry("d-1", False, None, None, None, None)


def test_an_undefined_result(read):
    raw = json.dumps({"type": RECORD_TYPE}).encode()
    assert read(raw) == Entry(None, False, None, None, None, None)


@pytest.mark.parametrize("digest", ["", "sha256:", f"sha256:{'A' * 64}", f"sha256:{'a' * 65}", "x", 5, None, {}])
def test_a_digest_of_another_form_is_none(read, digest):
    result = {**RESULT, "state": digest, "bundles": {"policy": digest, "library": digest}}
    assert read(line(result)) == Entry("d-1", True, None, None, None, None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"2026/01/01 00:00:00 http: TLS handshake error",
        b"[]",
        b"{}",
        b"{",
        b'{"type"',
        b'{"type":"x"}',
        b'{"type":1}',
        b'{"type":null}',
        b'{"level":"error","msg":"Bundle load failed"}',
        json.dumps([record()]).encode(),
        line()[:-1],  # OPA was killed within it
        line() + b"}",
        line() + b"{}",
        b"\xff" + line(),
        line().replace(b"}", b"]"),
        b'{"a\\q":1,' + line()[1:],
    ],
)
def test_no_decision_record(read, raw):
    assert read(raw) is None


def test_of_two_members_of_one_name_the_last_counts(read):
    twice = b'{"result":{"allow":true},"type":"x","result":{"state":"%b"},"type":"%b"}'
    assert read(twice % (STATE.encode(), RECORD_TYPE.encode())) == Entry(None, False, None, None, STATE, None)
    gone = b'{"result":{"allow":true},"result":null,"type":"%b"}' % RECORD_TYPE.encode()
    assert read(gone) == Entry(None, False, None, None, None, None)


def test_names_with_escapes(read):
    assert read(line().replace(b'"type"', b'"\\u0074ype"')) == Entry("d-1", True, POLICY, LIBRARY, STATE, None)


def test_a_space_around_it(read):
    assert read(b" \t" + json.dumps(record(), indent=1).encode() + b"\r\n") == Entry(
        "d-1", True, POLICY, LIBRARY, STATE, None
    )


@pytest.mark.parametrize("identifier", [r'"\ud800"', "5", "null", "{}", '""'])
def test_an_identifier_that_is_none(read, identifier):
    raw = line().replace(b'"d-1"', identifier.encode())
    assert read(raw) == Entry(None, True, POLICY, LIBRARY, STATE, None)


def at_depth(depth, call):
    return call() if depth == 0 else at_depth(depth - 1, call)


@pytest.mark.parametrize("depth", [400, 700, 900, 1000, 2000, 9900])
def test_how_deep_the_caller_is_makes_no_difference(depth):
    """A client can have OPA record a request that is nested 10,000 deep."""
    deep = b"[" * depth + b"]" * depth
    raw = line(input=0).replace(b'"input":0', b'"input":{"a":' + deep + b"}")
    raw = raw.replace(b'"reasons":[]', b'"obligations":' + deep)
    expected = Entry("d-1", True, POLICY, LIBRARY, STATE, None)
    assert read_entry(raw) == expected
    assert at_depth(sys.getrecursionlimit() - 250, lambda: read_entry(raw)) == expected


@pytest.mark.parametrize("unit", [b'{"a":', b"[", b'"', b"\\", b'"\\', b'\\"', b" ", b"\\a", b'{"result":', b"1,"])
def test_long_nonsense_is_quick(unit):
    with soon():
        assert read_entry(b'{"x":' + unit * (400_000 // len(unit))) is None


NAMES = st.sampled_from(
    ["type", "decision_id", "result", "allow", "bundles", "policy", "library", "state", "decision", "execution"]
)
SCALARS = st.sampled_from([True, False, None, RECORD_TYPE, POLICY, STATE, "d-1", "", '"\\{[', 0, -1.5e300])
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=5), max_leaves=20
)


@given(st.dictionaries(NAMES, VALUES), st.booleans(), st.sampled_from([None, 1]))
@example({}, True, None)
def test_the_scanner_reads_what_the_parser_reads(document, typed, indent):
    if typed:
        document = {**document, "type": RECORD_TYPE}
    raw = json.dumps(document, indent=indent).encode()
    assert of_members(raw) == read_entry(raw)
    try:
        record_entry._decode(raw)
    except msgspec.MsgspecError:
        return  # then the scanner alone reads it
    assert record_entry._scanned(raw) == read_entry(raw)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_entry(raw):
    assert read_entry(raw) is None
    assert of_members(raw) is None
    longer = line()[:-1] + b"," + raw
    assert of_members(longer) == read_entry(longer)
