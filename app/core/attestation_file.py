"""The file of a release's further attestations, `x.tar.gz.attestations.jsonl`: Sigstore bundles, one a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from app.core.attestation_claims import Claim, claimed
from app.core.errors import Denied, UsageError
from app.core.evidence_form import MAX_EVIDENCE
from app.core.files import read_bounded
from app.core.verification import MAX_ATTESTATIONS, split_attestations


def kept(existing: bytes, wanted: Callable[[Claim, bytes], object]) -> tuple[list[bytes], int]:
    """Those of the attestations in a file that `wanted` wants, and how many it does not, or cannot be read."""
    lines = split_attestations(existing)
    found = []
    for line in lines:
        try:
            if wanted(claimed(line), line):
                found.append(line)
        except Denied:
            continue
    return found, len(lines) - len(found)


def file_of(attestations: Sequence[bytes]) -> bytes:
    """The content of an `.attestations.jsonl` file. Raises `UsageError` for more than a verifier takes."""
    unique = list(dict.fromkeys(attestations))
    if len(unique) > MAX_ATTESTATIONS:
        raise UsageError(f"a release has at most {MAX_ATTESTATIONS} attestations, not {len(unique)}; delete old ones")
    return b"".join(line + b"\n" for line in unique)


def read(path: Path) -> bytes:
    """The file as it is; nothing where there is none. Raises `UsageError`."""
    limit = MAX_EVIDENCE * MAX_ATTESTATIONS
    return read_bounded(path, limit, "the attestations") if path.exists() else b""
