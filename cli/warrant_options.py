"""What the commands about warrants take: names, times, keys and token files.

Tokens and passphrases come from files, stdin or the environment, never from the arguments, which the whole machine
can read.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.errors import UsageError
from app.core.files import read_bounded, read_secret
from app.core.spans import UNITS

if TYPE_CHECKING:
    from app.core.holder_keys import HolderKey, Jwk
    from app.core.warrant_scope import Constraint
    from app.core.warrants import Principal

SystemOption = Annotated[str, typer.Option("--system", help="The system.", show_default=False)]
ChainArgument = Annotated[
    list[Path],
    typer.Argument(help="Files of warrants, one a line, root first; - reads stdin.", show_default=False),
]
SubjectOption = Annotated[
    str,
    typer.Option(
        "--subject", help="On whose behalf: ISSUER#ID, or the id alone with --subject-issuer.", show_default=False
    ),
]
SubjectIssuerOption = Annotated[
    str | None, typer.Option("--subject-issuer", help="The issuer that vouches for the subject's id.")
]
ActorOption = Annotated[
    str | None, typer.Option("--actor", help="ISSUER#ID of who uses it for the subject, such as an agent.")
]
ConstraintOption = Annotated[
    list[str] | None,
    typer.Option("--constraint", help="'amount<=100', 'amount>=1' or 'host=a.example,b.example'. Repeatable."),
]
ConstraintsFileOption = Annotated[
    Path | None, typer.Option("--constraints", help='A JSON file, such as {"amount": {"at_most": 100}}.')
]
NotBeforeOption = Annotated[
    str | None, typer.Option("--not-before", help="When it begins: RFC 3339, or a time from now such as +10m.")
]
UsesOption = Annotated[int | None, typer.Option("--uses", min=1, help="How many executions it may start.")]
HolderKeyOption = Annotated[
    Path | None,
    typer.Option("--holder-key", help="The holder's public key (PEM or JWK): needed to delegate, and proven at use."),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="A file with the key's passphrase. Default: the variable PLACET_KEY_PASSPHRASE."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("-o", "--out", help="Write it to this file, mode 0600, and do not print it.")
]

#: Bytes of a file of tokens (nine of 8,192 characters), and of a document.
MAX_TOKENS = 80 * 1024
MAX_DOCUMENT = 64 * 1024


def principal(text: str, issuer: str | None = None, *, option: str = "--subject") -> Principal:
    """`ISSUER#ID`, or an id with its issuer apart. Raises `UsageError`."""
    from pydantic import ValidationError

    from app.core.warrants import Principal

    name, separator, identifier = text.partition("#")
    if issuer is not None:
        name, identifier = issuer, text
    elif not separator:
        raise UsageError(f"{option} is ISSUER#ID, such as https://tokens.example.org#job-17")
    try:
        return Principal(issuer=name, id=identifier)
    except ValidationError as error:
        raise UsageError(f"{option}: issuer and id have 1 to 2048 characters each") from error


def duration(text: str, option: str, *, least: int = 1) -> int:
    """Seconds: a number with s, m, h or d, or without. Raises `UsageError`."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text.strip())
    if match is None or int(match[1]) < least:
        raise UsageError(f"{option} is a time such as 900, 15m, 8h or 2d, not {text!r}")
    return int(match[1]) * UNITS[match[2] or "s"]


def moment(text: str, option: str) -> int:
    """Seconds since the epoch: RFC 3339, or `+DURATION` from now. Raises `UsageError`."""
    if text.startswith("+"):
        return int(time.time()) + duration(text[1:], option)
    return int(time_of(text, option, " or +10m").timestamp())


def time_of(text: str, option: str, more: str = "") -> datetime:
    """A time of RFC 3339; `more` is what the option takes besides. Raises `UsageError`."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} is a time such as 2026-01-31T12:00:00Z{more}, not {text!r}") from error
    if parsed.tzinfo is None:
        raise UsageError(f"{option} needs a time zone: write {text}Z for UTC")
    return parsed


def tokens(files: Sequence[Path]) -> list[str]:
    """The tokens of files, one a line, in order. Raises `UsageError`."""
    found: list[str] = []
    for file in files:
        if str(file).startswith("ey") and str(file).count(".") == 2:
            raise UsageError("give a file of warrants, or -: a token in the arguments is visible to the whole machine")
        raw = _stdin() if str(file) == "-" else read_secret(file, MAX_TOKENS, "the warrants")
        found += raw.decode("utf-8", "replace").split()
    if not found:
        raise UsageError("there is no warrant in what was given")
    return found


def token(file: Path, what: str) -> str:
    """The one token that a file holds. Raises `UsageError`."""
    if str(file).startswith("ey") and str(file).count(".") == 2:
        raise UsageError("give a file: a token in the arguments is visible to the whole machine")
    found = read_secret(file, MAX_DOCUMENT, what).decode("utf-8", "replace").strip()
    if not found:
        raise UsageError(f"{file} is empty; it should hold {what}")
    return found


def constraints(written: Sequence[str] | None, file: Path | None) -> dict[str, Constraint]:
    """What `--constraint` and `--constraints` mean together. Raises `UsageError`."""
    from app.core.warrant_scope import parse_constraints, validated

    given = parse_constraints(written or [])
    listed = validated(json_file(file, "the constraints"), str(file)) if file else {}
    if both := sorted(set(given) & set(listed)):
        raise UsageError(f"the member {both[0]!r} is constrained in {file} and by --constraint; say it once")
    return {**listed, **given}


def words(value: Any) -> str:
    """A member of a request as a person reads it."""
    if isinstance(value, dict) and value.keys() == {"issuer", "id"}:
        return f"{value['issuer']}#{value['id']}"
    if isinstance(value, list):
        return ", ".join(words(one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def json_file(file: Path, what: str, most: int = MAX_DOCUMENT) -> dict[str, Any]:
    """The JSON object of a file of at most so many bytes. Raises `UsageError`."""
    from app.core import strict_json

    try:
        return strict_json.load_object(read_bounded(file, most, what))
    except strict_json.StrictJSONError as error:
        raise UsageError(f"{file}: {error}") from error


def public_key(file: Path | None) -> Jwk | None:
    """The public key that a file holds; None without one. Raises `UsageError`."""
    from app.core.holder_keys import MAX_KEY_FILE, load_public

    return load_public(read_bounded(file, MAX_KEY_FILE, "the public key")) if file else None


def private_key(file: Path, passphrase_file: Path | None) -> HolderKey:
    """The private key that a file holds. Raises `UsageError`."""
    from app.core.holder_keys import MAX_KEY_FILE, load_private

    return load_private(read_secret(file, MAX_KEY_FILE, "the private key"), passphrase(passphrase_file))


def passphrase(file: Path | None) -> bytes | None:
    """The passphrase of a file or of the environment; None when there is none. Raises `UsageError`."""
    if file is not None:
        found = read_secret(file, 1024, "the passphrase").rstrip(b"\r\n")
        if not found:
            raise UsageError(f"{file} holds no passphrase")
        return found
    return os.environb.get(b"PLACET_KEY_PASSPHRASE") or None


def new_file(file: Path | None) -> None:
    """Refuse to write over something, before anything is done. Raises `UsageError`."""
    if file is not None and file.exists():
        raise UsageError(f"{file} exists; choose another file, or delete it")


def _stdin() -> bytes:
    raw = sys.stdin.buffer.read(MAX_TOKENS + 1)
    if len(raw) > MAX_TOKENS:
        raise UsageError(f"stdin holds more than {MAX_TOKENS} bytes; it cannot be a chain of warrants")
    return raw
