"""Patterns of certificate identities: few forms, each of which means the same to every reader.

The accepted forms are a subset of RE2 (https://github.com/google/re2/wiki/Syntax), which the Rust engine of pydantic
matches in linear time. A pattern begins with `^` and ends with `$`, so that it stays anchored where it is copied to
(cosign searches), every dot outside a class is escaped, and what names the organization or the domain is literal.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydantic_core import SchemaValidator, core_schema

#: Characters of a pattern, and of a name that is compared with one.
MAX_LENGTH = 2048

_LITERAL = r"[A-Za-z0-9_/:@%=~,#!-]|\\[.+*?()\[\]{}|^$\\/@-]"
_IN_CLASS = r"[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9_./:@+%=~]|\\[.+*?()\[\]{}|^$\\/@-]"
_TOKEN = re.compile(
    rf"(?P<atom>(?P<literal>{_LITERAL})|\[\^?(?:{_IN_CLASS})+-?\]|\((?:{_LITERAL})+(?:\|(?:{_LITERAL})+)*\))"
    r"(?P<repeat>[*+?]|\{[0-9]{1,2}(?:,[0-9]{0,2})?\})?"
)
#: What a literal beginning or end must be, so that it is always known whom a pattern can name. Of a web address (a CI
#: job) the first segment as well: on a host of many it is the organization.
_AUTHORITY = re.compile(r"https?://[^/]+/[^/]+/.*|(?!http)[a-z][a-z0-9+.-]*://[^/]+/.*")
_DOMAIN = re.compile(r".*@[^@/]+")

_HINTS = {
    ".": r"write \. for a dot, and [^/]+ for anything up to a slash",
    "(": "a group holds literal alternatives only, such as (main|release)",
    "|": "alternatives stand in parentheses, such as (main|release)",
    "^": "^ stands at the beginning only",
    "$": "$ stands at the end only",
    "[": "a class holds letters, digits, ranges and ._/:@+%=~ only",
    "\\": r"only punctuation may be escaped; write [0-9] for \d",
}


def person(name: str) -> str:
    """Whom a name means when people are counted: the same under every issuer, and however it is capitalized."""
    return name.casefold()


def check_pattern(pattern: str) -> str:
    """The pattern itself. Raises `ValueError` with one line that says what is wrong, and what to write."""
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"a pattern may have {MAX_LENGTH} characters")
    if not (pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith("\\$")):
        raise ValueError("a pattern begins with ^ and ends with $, so that it names the whole identity")
    inner = pattern[1:-1]
    literals: list[str | None] = []  # None: something that may vary
    at = 0
    while at < len(inner):
        found = _TOKEN.match(inner, at)
        if found is None:
            hint = _HINTS.get(inner[at], "this is not one of the accepted forms")
            raise ValueError(f"character {at + 2} of the pattern, {inner[at]!r}: {hint}")
        literals.append(found["literal"][-1] if found["literal"] and not found["repeat"] else None)
        at = found.end()
    if not _names_somebody(literals):
        raise ValueError(
            "a pattern says literally whom it trusts: https://HOST/ORGANIZATION/, spiffe://DOMAIN/, or the domain of "
            "an e-mail address"
        )
    if None not in literals:
        raise ValueError("nothing varies in this pattern: write it as identity")
    try:
        _compiled(pattern)
    except Exception as error:  # pydantic-core has no class of its own for it
        raise ValueError("the pattern does not compile: a range goes backwards, or it is too large") from error
    return pattern


def matches(pattern: str, name: str) -> bool:
    """Whether a checked pattern is of the whole name. Names other than printable ASCII match nothing.

    Neither do names with a second @: a branch may be called `x@refs/tags/v1`. An address is no e-mail address.
    """
    if len(name) > MAX_LENGTH or not (name.isascii() and name.isprintable()) or name.count("@") > 1:
        return False
    if ("://" in name) != ("://" in pattern.replace("\\", "")):
        return False
    return _compiled(pattern).isinstance_python(name)


def _names_somebody(literals: list[str | None]) -> bool:
    """Whether scheme and host stand literally at the beginning, or a domain at the end."""
    first = literals.index(None) if None in literals else len(literals)
    last = len(literals) - (literals[::-1].index(None) if None in literals else len(literals))
    beginning = "".join(one or "" for one in literals[:first])
    end = "".join(one or "" for one in literals[last:])
    if "://" in "".join(one or "\0" for one in literals):
        return _AUTHORITY.fullmatch(beginning) is not None
    return _DOMAIN.fullmatch(end) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=f"^(?:{pattern[1:-1]})$", regex_engine="rust-regex"))
