"""JSON that every reader reads alike. OPA itself is more tolerant, so what it would settle silently is refused here.

`encode` takes Python values on their way out; `decode` reads what came back. Both raise ValueError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

#: Objects and arrays within each other.
MAX_DEPTH = 64
#: Bytes of a request, as OPA is configured to take.
MAX_REQUEST = 64 * 1024
#: The largest integer whose neighbours a double can still tell apart; beyond it, send a string.
MAX_INTEGER = 2**53


def encode(document: Any, limit: int = MAX_REQUEST) -> bytes:
    """The UTF-8 text of `document`: at most `limit` bytes, nested at most 64 deep.

    Raises ValueError with one line that says what is wrong.
    """
    try:
        raw = json.dumps(_plain(document), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a string holds half of a surrogate pair") from error
    if len(raw) > limit:
        raise ValueError(f"{len(raw)} bytes of JSON; at most {limit} are taken")
    return raw


def decode(raw: bytes) -> Any:
    """The value of strict JSON: no member twice, no NaN, no lone surrogates, nested at most 64 deep.

    Raises ValueError.
    """
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()  # fails on half of a surrogate pair
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    _check_depth(value)
    return value


def _plain(document: Any) -> Any:
    """A copy of plain dictionaries, lists and scalars; nothing else is JSON."""
    nodes = 0

    def copy(value: Any, depth: int) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > MAX_REQUEST:  # each takes a byte at least; a value that holds itself ends here or at the depth
            raise ValueError(f"more than {MAX_REQUEST} values")
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int):
            if abs(value) > MAX_INTEGER:
                raise ValueError("an integer beyond 2^53; send a string")
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{value} is not JSON")
            return value
        if depth >= MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        if isinstance(value, Mapping):
            if not all(isinstance(name, str) for name in value):
                raise ValueError("a member's name is not a string")
            return {name: copy(inner, depth + 1) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [copy(inner, depth + 1) for inner in value]
        raise ValueError(f"{type(value).__name__} is not JSON")

    return copy(document, 0)


def _check_depth(value: Any) -> None:
    layer = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item for item in layer if isinstance(item, dict | list)]
        if not containers:
            return
        layer = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice in one object")
    return members


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number beyond a double")
    return number
