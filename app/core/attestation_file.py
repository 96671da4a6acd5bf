"""The file of a release's further attestations, `x.tar.gz.attestations.jsonl`: Sigstore bundles, one a line.

Several commands add to it. Each holds the file while it reads and replaces it, so that none takes away what another
added, and a reader or a crash sees the old file or the new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.core import strict_json
from app.core.attestation_claims import Claim, claimed
from app.core.errors import Denied, PlacetError, UsageError
from app.core.evidence_form import MAX_EVIDENCE
from app.core.file_lock import replaced_file_lock
from app.core.files import read_bounded, write_together
from app.core.verification import MAX_ATTESTATIONS


def change(
    path: Path, changed: Callable[[list[bytes]], Sequence[bytes]], *, beside: Mapping[Path, bytes] | None = None
) -> None:
    """Replace the attestations in a file by what `changed` makes of them; one process at a time.

    `beside` are files that are written together with it. Raises `UsageError` when the file is damaged: what cannot be
    read is not thrown away; and `PlacetError` when it cannot be written.
    """
    try:
        with replaced_file_lock(path):
            content = file_of(changed(parsed(read(path), path)))
            write_together({path: content, **(beside or {})}, mode=0o644)
    except OSError as error:
        raise PlacetError(f"cannot write {path}: {error.strerror}") from error


def parsed(content: bytes, path: Path) -> list[bytes]:
    """The attestations in the content of the file at `path`. Raises `UsageError` with the line that is none."""
    found = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            claimed(line)
        except Denied as denied:
            raise UsageError(
                f"{path}:{number}: no attestation ({denied.detail}); restore the file, or delete this line"
            ) from denied
        found.append(line.strip())
    return found


def kept(attestations: Sequence[bytes], wanted: Callable[[Claim, bytes], object]) -> tuple[list[bytes], int]:
    """Those of the attestations that `wanted` wants, and how many it does not."""
    found = [one for one in attestations if wanted(claimed(one), one)]
    return found, len(attestations) - len(found)


def file_of(attestations: Sequence[bytes]) -> bytes:
    """The content of an `.attestations.jsonl` file: each on one line, and once, however it is written.

    Raises `UsageError` for more than a verifier takes.
    """
    unique: dict[str, bytes] = {}
    for one in attestations:
        # No token of JSON holds a line break, so that without them the document is the same.
        unique.setdefault(json.dumps(strict_json.loads(one), sort_keys=True), b"".join(one.splitlines()).strip())
    if len(unique) > MAX_ATTESTATIONS:
        raise UsageError(f"a release has at most {MAX_ATTESTATIONS} attestations, not {len(unique)}; delete old ones")
    return b"".join(line + b"\n" for line in unique.values())


def appended(content: bytes, one: bytes) -> bytes:
    """The content of such a file with one attestation more, on a line of its own, whatever the last one ends with."""
    return b"".join(line + b"\n" for line in (content.rstrip(b"\n"), one) if line)


def read(path: Path) -> bytes:
    """The file as it is; nothing where there is none. Raises `UsageError`."""
    limit = MAX_EVIDENCE * MAX_ATTESTATIONS
    return read_bounded(path, limit, "the attestations") if path.exists() else b""
