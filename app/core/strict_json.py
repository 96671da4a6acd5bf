"""JSON as Placet accepts and writes it.

`loads` refuses what parsers disagree about: duplicate member names, NaN and infinities, numbers beyond a double,
invalid UTF-8, lone surrogates, byte order marks. `canonical` writes RFC 8785 bytes, for documents of our own.
"""

from __future__ import annotations

import codecs
import json
import math
from typing import Any

import rfc8785

#: Deeper documents than this are refused before anything recurses over them.
MAX_DEPTH = 64


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


class StrictJSONError(ValueError):
    """The text is not JSON that everyone reads in the same way."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise StrictJSONError(f"the member {name[:100]!r} stands twice in one object")
        members[name] = value
    return members


def _refuse_constant(text: str) -> Any:
    raise StrictJSONError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise StrictJSONError(f"{text[:40]} is beyond a double")
    return number


def _check_depth(value: Any) -> None:
    layer, depth = [value], 0
    while layer:
        depth += 1
        if depth > MAX_DEPTH:
            raise StrictJSONError(f"nested more than {MAX_DEPTH} deep")
        below: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        layer = below


def loads(raw: bytes) -> Any:
    """Parse `raw` strictly. Raises `StrictJSONError` with one line that says why not."""
    if raw.startswith(codecs.BOM_UTF8):
        raise StrictJSONError("not JSON: it begins with a byte order mark; save it as UTF-8 without one")
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
        _check_depth(value)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8: others replace it
    except StrictJSONError:
        raise
    except RecursionError as error:
        raise StrictJSONError(f"nested more than {MAX_DEPTH} deep") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise StrictJSONError(f"not JSON: {error}") from error
    return value


def load_object(raw: bytes) -> dict[str, Any]:
    """Parse `raw` strictly and require an object."""
    value = loads(raw)
    if not isinstance(value, dict):
        raise StrictJSONError("not a JSON object")
    return value


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a document of our own. Integers beyond 2^53 must be strings already.

    Raises `ValueError` for what RFC 8785 cannot hold.
    """
    if _is_plain(value):
        text = _encode(value)
        if text.isascii() or len(text.encode("utf-16-le")) == 2 * len(text):  # else RFC 8785 may sort otherwise
            return text.encode()
    return rfc8785.dumps(value)


def _is_plain(value: Any) -> bool:
    """Whether the standard encoder, which is faster, writes a document as RFC 8785 does."""
    pending = [value]
    while pending:
        one = pending.pop()
        kind = type(one)
        if kind is dict:
            if not all(type(name) is str for name in one):
                return False
            pending.extend(one.values())
        elif kind is list:
            pending.extend(one)
        elif kind is not str and kind is not bool and one is not None:
            return False
    return True
