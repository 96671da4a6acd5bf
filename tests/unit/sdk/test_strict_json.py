import enum
import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet_sdk.strict_json import MAX_DEPTH, MAX_INTEGER, MAX_REQUEST, decode, encode


class Level(enum.IntEnum):
    LOW = 1


class Name(enum.StrEnum):
    READ = "read"


def nested(depth, bottom=1):
    value = bottom
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 1.5, True, None, "ü"]}, '{"a":[1,1.5,true,null,"ü"]}'),
        ((1, 2), "[1,2]"),
        (MappingProxyType({"a": MappingProxyType({})}), '{"a":{}}'),
        ({Name.READ: Level.LOW}, '{"read":1}'),
        (MAX_INTEGER, "9007199254740992"),
        (-MAX_INTEGER, "-9007199254740992"),
        ("🦀\u2028\0", '"🦀\u2028\\u0000"'),
    ],
)
def test_plain_values_are_written(value, text):
    assert encode(value) == text.encode()


def loop():
    value = []
    value.append(value)
    return value


def wide():
    value = [0] * 64
    for _ in range(20):
        value = [value] * 64
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        [float("nan")],
        {"a": {"b": float("inf")}},
        "\ud800",
        {"\udfff": 1},
        ["\ud83d"],
        {1: 1},
        {None: 1},
        {True: 1},
        {b"a": 1},
        {(1, 2): 1},
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        10**400,
        nested(MAX_DEPTH + 1),
        nested(100_000),
        {"a": nested(MAX_DEPTH)},
        loop(),
        wide(),
        b"bytes",
        {1, 2},
        object(),
        1 + 2j,
        iter([]),
        "x" * MAX_REQUEST,
        [None] * MAX_REQUEST,
        ["é" * (MAX_REQUEST // 2)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_strict_json_is_refused(value):
    with pytest.raises(ValueError, match=r"."):
        encode(value)


def test_limits_are_exact():
    assert encode("x" * (MAX_REQUEST - 2))
    assert encode(nested(MAX_DEPTH))
    assert encode("xx", limit=4) == b'"xx"'
    with pytest.raises(ValueError, match="5 bytes of JSON; at most 4"):
        encode("xxx", limit=4)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"nul", b"{'a':1}", b'{"a":1,}', b'{"a":1}{', b"\xff", b'"\xed\xa0\x80"', b'"\\ud800"', b'{"\\udc00":1}',
        b'{"a":1,"a":1}', b'[{"a":{"b":1,"b":2}}]', b"NaN", b"-Infinity", b"1e999", b"-1e999", b"9" * 5000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), b"[" * 200_000, b'{"a":' * 70 + b"1" + b"}" * 70,
        b"\xef\xbb\xbf{}", b'"a\nb"',
    ],
    ids=repr,
)  # fmt: skip
def test_text_that_readers_disagree_about_is_refused(raw):
    with pytest.raises(ValueError, match=r"."):
        decode(raw)


def test_what_is_read():
    assert decode(b' {"a": [1.5, null, true, "\\ud83e\\udd80"], "A": {}} ') == {"a": [1.5, None, True, "🦀"], "A": {}}
    assert decode(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_is_read_back(value):
    try:
        raw = encode(value)
    except ValueError:
        assert "Infinity" in json.dumps(value)
    else:
        assert decode(raw) == value
