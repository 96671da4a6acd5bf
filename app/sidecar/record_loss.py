"""How many answers of OPA a record file lacks, noted beside it: a batch says it, whichever agent cuts that batch.

What is lost is noted as it is found; what was said of it, after the batch that says so. A crash between the two makes
the next batch say it once more, never less often.
"""

from __future__ import annotations

import threading
from pathlib import Path

from app.core.errors import PlacetError
from app.core.files import write_atomically

#: One thread finds what is lost, another one says it.
_LOCK = threading.Lock()


def note(records: Path, lost: int) -> None:
    """Keep that so many answers in all have no record in `records`. A smaller number than before changes nothing."""
    with _LOCK:
        found, said = _read(records)
        if lost > found:
            _write(records, lost, said)


def untold(records: Path) -> int:
    """How many of those no batch has said yet."""
    found, said = _read(records)
    return found - said


def told(records: Path, lost: int) -> None:
    """A batch that says `lost` more of them is noted."""
    if lost:
        with _LOCK:
            found, before = _read(records)
            _write(records, found, before + lost)


def forget(records: Path) -> None:
    """The record file is gone."""
    _note(records).unlink(missing_ok=True)


def _read(records: Path) -> tuple[int, int]:
    """How many are lost, and how many of them were told."""
    path = _note(records)
    if not path.exists():
        return 0, 0
    try:
        lost, said = map(int, path.read_text().split())
    except (ValueError, UnicodeDecodeError) as error:
        raise PlacetError(f"{path} is damaged; write into it how many answers of OPA have no record, and 0") from error
    return lost, said


def _write(records: Path, lost: int, said: int) -> None:
    write_atomically(_note(records), f"{lost} {said}\n".encode(), mode=0o600)


def _note(records: Path) -> Path:
    return records.with_suffix(".lost")
