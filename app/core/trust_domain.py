"""The name of a trust domain (SPIFFE ID specification, section 2.1)."""

from __future__ import annotations

import re

from app.core.errors import UsageError
from app.core.pattern_words import TRUST_DOMAIN, words


def trust_domain(text: str) -> str:
    """The name as it was given. Raises `UsageError` when it is none."""
    if not re.fullmatch(TRUST_DOMAIN, text):
        raise UsageError(f"{text!r} is no trust domain: it {words(TRUST_DOMAIN)}")
    return text
