"""What the patterns of names and texts say, in words: people read no regular expressions."""

from __future__ import annotations

_TO_64 = "at most 64 letters, digits, hyphens and underscores"
_FREE = "letters, digits, dots, hyphens and underscores, of which the first is a letter or a digit"
_NUMBER = "a whole number of at most 18 digits in a text, with no zero before it"
_SIDECAR = "the SPIFFE id of a sidecar"
_SIDECAR_ID = "spiffe://example.org/sidecar/payments/one"
_UTC = "a time in UTC, to the second"
_TIME = "2026-01-31T12:00:00Z"
_WORD = r"[A-Za-z_][A-Za-z0-9_-]*"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

#: SPIFFE ID specification, section 2.1.
TRUST_DOMAIN = r"^[a-z0-9._-]{1,255}$"

#: The pattern of a field -> what it takes, and one text that it takes.
WORDS: dict[str, tuple[str, str]] = {
    rf"^{_LABEL}$": ("at most 63 lower-case letters, digits and hyphens, with no hyphen at either end", "payments-eu"),
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9*]|\*)?$": (
        "a name in at most 63 lower-case letters, digits and hyphens, with one * at the end or none",
        "api-*",
    ),
    TRUST_DOMAIN: ("lower-case letters, digits, dots, hyphens and underscores", "partner.example"),
    r"^[a-z][a-z0-9_]{0,63}$": (
        "at most 64 lower-case letters, digits and underscores, of which the first is a letter",
        "exit_code",
    ),
    r"^[A-Za-z0-9_-]{1,64}$": (_TO_64, "5f0c9d27a1b8e346"),
    r"^[A-Za-z0-9_-]{16,64}$": (
        "16 to 64 letters, digits, hyphens and underscores",
        "refunds-of-today-01",
    ),
    r"^[A-Za-z0-9-]{1,64}$": ("at most 64 letters, digits and hyphens", "4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e"),
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": (f"at most 64 {_FREE}", "fetch-payment"),
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$": (f"at most 128 {_FREE}", "policy-1.2"),
    r"^[A-Za-z0-9_-]{43}$": (
        "the SHA-256 thumbprint of a key (RFC 7638), 43 characters of base64url",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    ),
    r"^[!-~]+$": ("ASCII letters, digits and signs, with no space", "refund-2026-17"),
    r"^sha256:[0-9a-f]{64}$": ("sha256: and 64 lower-case hexadecimal digits", f"sha256:{'9a8b' * 16}"),
    r"^[0-9a-f]{64}$": ("64 lower-case hexadecimal digits", "9a8b" * 16),
    r"^[A-Za-z0-9+/]*={0,2}$": ("base64", "cGxhY2V0"),
    r"^(0|[1-9][0-9]{0,17})$": (_NUMBER, "42"),
    r"^[a-z]+\.[a-z_]+$": ("a reason code", "policy.denied"),
    r"^[^\x00-\x1f\x7f-\x9f]{1,512}$": ("1 to 512 characters, none of which controls a terminal", "payment/p-1"),
    r"^[^\x00-\x1f\x7f-\x9f]{1,1024}$": ("1 to 1024 characters, none of which controls a terminal", "build"),
    rf"^{_WORD}(/{_WORD})*$": ("names with slashes between them", "app/authz/allow"),
    r"^[ -~]+$": ("printable ASCII characters", "https://verifier.example.org"),
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$": ("a time (RFC 3339)", _TIME),
    r"\S": ("more than white space", "input.passed"),
    r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$": (_UTC, _TIME),
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$": (_UTC, _TIME),
    rf"^spiffe://[a-z0-9._-]{{1,255}}/sidecar/{_LABEL}/{_LABEL}$": (_SIDECAR, _SIDECAR_ID),
    r"^spiffe://[a-z0-9._-]{1,255}/sidecar/[a-z0-9-]+/[a-z0-9-]+$": (_SIDECAR, _SIDECAR_ID),
}


def words(pattern: str) -> str:
    """What a text must be that the pattern takes, such as `must be … such as payments-eu`."""
    if pattern not in WORDS:
        return f"must match {pattern}"
    what, example = WORDS[pattern]
    return f"must be {what}, such as {example}"
