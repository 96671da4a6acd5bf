"""Numbers as they are written: 40, 40.0 and 4e1 are searched for as one."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?")


def is_number(text: str) -> bool:
    """Whether the whole text is a number."""
    return bool(_NUMBER.fullmatch(text))


def digits_of(text: str) -> str:
    """The digits that stand in every way to write a number, one after the other but for a point: of 0.050, 5."""
    match = _NUMBER.fullmatch(text)
    return (match[2] + (match[3] or "")).strip("0") or "0" if match else ""


def plain(text: str) -> str:
    """One text for all ways to write a number; what is none stays as it is."""
    # Most values are words: to see that is quicker than to compare with a pattern.
    match = _NUMBER.fullmatch(text) if text[:1].isdecimal() or text[:1] == "-" else None
    if match is None:
        return text
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", match[4] or "0"
    if not fraction and exponent == "0" and (whole[0] != "0" or whole == "0") and len(whole) <= 64 and text != "-0":
        return text
    digits = (whole + fraction).lstrip("0")
    if not digits or len(exponent) > 18:
        return "0" if not digits else text
    power = int(exponent) - len(fraction) + len(digits) - len(digits.rstrip("0"))
    digits = digits.rstrip("0")
    if 0 <= power <= 64 - len(digits):
        return sign + digits + "0" * power
    return f"{sign}{digits}e{power}"
