import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.replay_tokens import said

SHA = "ab" * 32


def part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


HEADER = part(b'{"alg":"EdDSA"}')


def recorded(claims: bytes, header: str = HEADER) -> bytes:
    """A request as masking leaves it."""
    return json.dumps({"identity": {"token": f"{header}.{part(claims)}.{SHA}"}}).encode()


def test_parts_are_read_once_for_all_records():
    first, second = b'{"sub":"a","exp":12}', b'{"sub":"b","n":[1.5,null,{"x":"\xc3\xa9"}]}'
    found = json.loads(b"{%s}" % said([recorded(first), recorded(second), recorded(first)]))
    assert found == {HEADER: {"alg": "EdDSA"}, part(first): json.loads(first), part(second): json.loads(second)}


@pytest.mark.parametrize(
    "claims",
    [
        b'{"sub": "a"}', b'{ "sub":"a"}', b'{"a":1,"a":2}', b'{"a":1.0e2}', b'{"a":1E400}', b'{"a":"\\u0041"}',
        b'{"a":1}}', b'{"a":1},"x":{}', b'{"a":1', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":"\x01"}', b'{"a":NaN}',
        b"{" + b'"a":{' * 5000 + b"}" * 5001, b"{}" + b"\x00",
    ],
)  # fmt: skip
def test_what_our_encoder_writes_otherwise_is_left_to_opa(claims):
    assert json.loads(b"{%s}" % said([recorded(claims)])) == {HEADER: {"alg": "EdDSA"}}


@pytest.mark.parametrize(
    "text", [b"", b"null", b'"x"', b'{"identity":{"token":"sha256:' + b"a" * 64 + b'"}}', b'{"a":"e.e.e"}']
)
def test_records_without_tokens_say_nothing(text):
    assert said([text]) == b""


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: json.dumps({"a": text}).encode()))
def test_whatever_a_token_holds_is_one_value_or_none(raw):
    found = json.loads(b"{%s}" % said([recorded(b"{" + raw), recorded(raw)]))
    for claims in (raw, b"{" + raw):
        if (name := part(claims)) in found:
            assert found[name] == json.loads(claims)
