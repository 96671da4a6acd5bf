"""What the tokens in records say, read once for all records of a query: many decisions rest on one token.

The text of a token is its sender's. So that it cannot be more than one value in the query that it becomes a part of, it
is used only where our own encoder writes the same bytes; the replay module reads all other parts itself.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

import msgspec

#: A token as masking leaves it: header, claims, and its own SHA-256.
_TOKEN = re.compile(rb'"(e[\w-]+)\.(e[\w-]+)\.[0-9a-f]{64}"')

_decode, _encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


def said(inputs: Iterable[bytes]) -> bytes:
    """Members of a JSON object: the base64url of a header or of claims, and what it says."""
    parts = {part for one in inputs for found in _TOKEN.findall(one) for part in found}
    return b",".join(b'"%s":%s' % (part, text) for part in sorted(parts) if (text := _plain(part)) is not None)


def _plain(part: bytes) -> bytes | None:
    """The JSON object that a part of a token is; None where it is none, or written in another way than ours."""
    try:
        raw = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
        value = _decode(raw)
        return raw if isinstance(value, dict) and _encode(value) == raw else None
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError, UnicodeEncodeError, RecursionError):
        return None
