"""Which OPA binary wrote a record file, noted beside it: another may run when the file is put into batches."""

from __future__ import annotations

import re
from pathlib import Path

from app.core.errors import PlacetError
from app.core.files import write_atomically


def note(records: Path, digest: str) -> None:
    """Keep the digest of the OPA binary that is about to write `records`."""
    write_atomically(_note(records), digest.encode(), mode=0o600)


def opa_of(records: Path) -> str | None:
    """The digest of the OPA binary that wrote `records`; None when nobody noted it."""
    path = _note(records)
    if not path.exists():
        return None
    digest = path.read_text(errors="replace").strip()
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise PlacetError(f"{path} is damaged; write the digest of the OPA that wrote {records.name} into it")
    return digest


def forget(records: Path) -> None:
    """The record file is gone."""
    _note(records).unlink(missing_ok=True)


def _note(records: Path) -> Path:
    return records.with_suffix(".opa")
