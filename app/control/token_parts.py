"""The parts of an identity token before anybody vouches for them, read as OPA reads them.

Of a member that stands twice the last one counts, as there. What is no UTF-8, or nested deeper than anybody means,
is refused here alone.
"""

from __future__ import annotations

import base64
import json
import re
from decimal import Decimal
from typing import Any

from app.core.letter_case import lowered

#: What a header may hold. Nobody reads the thumbprints; whatever else is there could change what the token means.
HEADER = {"alg", "kid", "typ", "x5t", "x5t#S256"}
#: A token of another type was made to say something else (RFC 8725, section 3.11).
_TYPES = {"jwt", "jose", "at+jwt", "application/at+jwt"}

_PADDED = re.compile(r"[A-Za-z0-9_-]*={0,2}")
#: Digits of a number that is read exactly; Python refuses thousands of them, and no claim needs them.
_MAX_DIGITS = 300
#: OPA reads no number beyond 2^100000, or so close to nothing.
_MAX_EXPONENT = 30102


class Unreadable(ValueError):
    """The text is no token of an identity. It says why."""


def read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims. Raises `Unreadable`."""
    parts = token.split(".")
    if len(parts) != 3:
        raise Unreadable("is no JWT of three parts")
    header = _object(parts[0])
    texts = [header.get(name, "") for name in ("typ", "x5t", "x5t#S256")]
    texts += [header.get(name) for name in ("alg", "kid")]
    if not set(header) <= HEADER or not all(isinstance(text, str) for text in texts):
        raise Unreadable("must have a header of alg and kid, and beside them typ, x5t and x5t#S256 alone")
    if lowered(header.get("typ", "JWT")) not in _TYPES:
        raise Unreadable("is of another type than identities are (typ)")
    return header, _object(parts[1])


def decoded(part: str) -> bytes:
    """base64url, whose padding and line breaks mean nothing. Raises `ValueError`."""
    padded = part if part.endswith("=") else part + "=" * (-len(part) % 4 % 3)
    text = padded.replace("\r", "").replace("\n", "")
    if not _PADDED.fullmatch(text) or len(text) % 4:
        raise ValueError("no base64url")
    return base64.urlsafe_b64decode(text)


def _object(part: str) -> dict[str, Any]:
    try:
        text = decoded(part).decode("utf-8")
        value = json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_refused)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise Unreadable("cannot be read") from error
    if not isinstance(value, dict):
        raise Unreadable("has a part that is no object")
    return value


def _number(text: str) -> int | float:
    number = Decimal(text)
    if number and abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError(f"the number {text[:40]} is too large or too small")
    return int(text) if text.lstrip("-").isdigit() and len(text) <= _MAX_DIGITS else float(text)


def _refused(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
