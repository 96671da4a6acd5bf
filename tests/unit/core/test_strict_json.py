import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import strict_json
from app.core.strict_json import StrictJSONError
from tests.soon import soon

REFUSED = {
    "nothing": b"",
    "a member twice": b'{"a": 1, "a": 1}',
    "a member twice, deep inside": b'{"x": [{"y": {"a": 1, "b": 2, "a": 3}}]}',
    "a member twice, once escaped": b'{"a": 1, "\\u0061": 2}',
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": Infinity}',
    "minus infinity": b"[-Infinity]",
    "a number beyond a double": b"[1e400]",
    "a negative number beyond a double": b"[-1.5e+999999]",
    "an integer of 5000 digits": b"1" * 5000,
    "invalid UTF-8": b'{"a": "\xff"}',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "an overlong encoding": b'"\xc0\xaf"',
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'["\\udc00"]',
    "a lone surrogate as a name": b'{"\\ud800": 1, "\\ufffd": 2}',
    "surrogates in the wrong order": b'"\\udc00\\ud800"',
    "65 arrays": b"[" * 65 + b"]" * 65,
    "65 objects": b'{"a":' * 65 + b"1" + b"}" * 65,
    "a hundred thousand arrays": b"[" * 100_000 + b"]" * 100_000,
    "a hundred thousand opened": b"[" * 100_000,
    "a comment": b'{"a": 1} // x',
    "a trailing comma": b'{"a": 1,}',
    "two documents": b"{} {}",
    "single quotes": b"{'a': 1}",
    "a bare control character": b'"\x01"',
    "a NUL at the end": b"{}\0",
    "a leading zero": b"[01]",
    "a plus": b"[+1]",
}


def test_a_byte_order_mark_is_named_with_what_to_do():
    with pytest.raises(StrictJSONError) as error:
        strict_json.loads(REFUSED["a byte order mark"])
    assert str(error.value) == "not JSON: it begins with a byte order mark; save it as UTF-8 without one"


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name):
    with soon(), pytest.raises(StrictJSONError) as error:
        strict_json.loads(REFUSED[name])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_long_name_does_not_fill_the_message():
    name = "x" * 100_000
    with pytest.raises(StrictJSONError) as error:
        strict_json.loads(f'{{"{name}": 1, "{name}": 2}}'.encode())
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),  # names differ in case: who may use which is each form's own rule
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        ('"\U0001f600"'.encode(), "\U0001f600"),
        (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"1e300", 1e300),
        (b" \t\r\n null ", None),
        (b'"\\u0000"', "\0"),
    ],
)
def test_accepted(raw, value):
    assert strict_json.loads(raw) == value


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"1", b"null", b"true"])
def test_an_object_is_required(raw):
    with pytest.raises(StrictJSONError, match="not a JSON object"):
        strict_json.load_object(raw)


@pytest.mark.parametrize("value", [2**53, -(2**60), float("inf"), float("nan"), "\ud800", {"\ud800": 1}])
def test_canonical_refuses_what_rfc_8785_cannot_hold(value):
    with pytest.raises(ValueError):
        strict_json.canonical({"a": value})


def test_canonical_sorts_by_utf_16_and_writes_no_space():
    # U+FB33 sorts after the surrogates of U+1F600 in UTF-16, though its code point is lower (RFC 8785, 3.2.3).
    text = strict_json.canonical({"\ufb33": 1, "\U0001f600": 2, "b": 1e21, "a": [True, None]}).decode()
    assert text == '{"a":[true,null],"b":1e+21,"\U0001f600":2,"\ufb33":1}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(JSON)
def test_what_canonical_writes_loads_reads(value):
    assert strict_json.loads(strict_json.canonical(value)) == value


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0d8e1.-+ntf', max_size=80).map(str.encode))
def test_nothing_else_is_ever_raised(raw):
    try:
        value = strict_json.loads(raw)
    except StrictJSONError:
        return
    assert json.loads(raw) == value


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.text()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=12,
)


@given(_JSON)
@settings(max_examples=300, deadline=None)
def test_what_is_written_quickly_is_rfc_8785(document):
    assert strict_json.canonical(document) == rfc8785.dumps(document)


def test_names_are_in_the_order_of_utf_16():
    assert strict_json.canonical({"\ufb33": "", "\U0001f600": ""}).decode().startswith('{"\U0001f600"')
    with pytest.raises(ValueError, match="surrogates"):
        strict_json.canonical({"a": "\ud800"})
