"""Sends record files to the control plane, in order, each byte once, and gives back the space.

A batch is noted on disk before it is sent, so that after a crash the same bytes are sent again: the control plane
knows a repeat by its first offset. What was acknowledged is noted too; records are freed only after that. What the
control plane says that it holds is not believed: somebody else may have shipped it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.core import strict_json
from app.core.batch import MAX_BYTES
from app.core.batch_form import MAX_ENTRIES
from app.core.errors import PlacetError
from app.core.files import write_atomically
from app.sidecar import record_loss, record_origin
from app.sidecar.control_plane import ControlPlane


class Shipper:
    """Ships all record files of one sidecar. One thread at a time may use it."""

    def __init__(self, directory: Path, plane: ControlPlane, freed: Callable[[Path, int], None]) -> None:
        """`freed` is told which file was acknowledged, and up to which offset."""
        self._directory = directory
        self._plane = plane
        self._freed = freed

    def ship(self, *, ended: bool = False) -> bool:
        """Send one batch, if there is one. `ended`: no OPA writes any more. Returns whether more may wait.

        The newest file is the one that OPA writes, or is about to; only older ones are complete and may be deleted.
        """
        paths = sorted(self._directory.glob("*.log"))
        for path in paths:
            complete = ended or path != paths[-1]
            progress = Progress(path)
            batch = _next_batch(path, progress, complete)
            if batch:
                self._send(path, progress, batch)
                return True
            if complete:
                delete(path, progress)
        return False

    def acknowledged(self, path: Path) -> int:
        """Up to which offset the control plane holds this file."""
        return Progress(path).acknowledged

    def _send(self, path: Path, progress: Progress, batch: bytes) -> None:
        first, last = progress.acknowledged, progress.acknowledged + len(batch)
        progress.intend(last)
        self._plane.ship(path, first, last, batch)
        progress.acknowledge(last)
        self._freed(path, last)


class Progress:
    """How far one record file was acknowledged, and the end of the batch that was on its way."""

    def __init__(self, path: Path) -> None:
        """`path`: the record file. Raises `PlacetError` when the note beside it is damaged."""
        self._note = path.with_suffix(".ack")
        self.acknowledged = 0
        self.intended: int | None = None
        if self._note.exists():
            try:
                known = strict_json.load_object(self._note.read_bytes())
                intended = known["intended"]
                self.acknowledged = int(known["acknowledged"])
                self.intended = None if intended is None else int(intended)
            except (strict_json.StrictJSONError, KeyError, TypeError, ValueError) as error:
                raise PlacetError(f"{self._note} is damaged; delete it, and all records are sent again") from error

    def intend(self, last: int) -> None:
        """A batch up to `last` is about to be sent."""
        if self.intended != last:
            self.intended = last
            self._save()

    def acknowledge(self, last: int) -> None:
        """The control plane holds everything up to `last`."""
        self.acknowledged, self.intended = last, None
        self._save()

    def forget(self) -> None:
        """The record file is gone."""
        self._note.unlink(missing_ok=True)

    def _save(self) -> None:
        document = {"acknowledged": self.acknowledged, "intended": self.intended}
        write_atomically(self._note, strict_json.canonical(document), mode=0o600)


def delete(path: Path, progress: Progress) -> None:
    """Delete a record file that was acknowledged whole, with the notes beside it."""
    path.unlink()
    progress.forget()
    record_origin.forget(path)
    record_loss.forget(path)


def tidy(directory: Path) -> None:
    """Delete what a killed agent left: notes that it was writing, and notes of record files that are gone."""
    for path in directory.iterdir():
        orphaned = path.suffix in {".ack", ".opa", ".lost"} and not path.with_suffix(".log").exists()
        if path.is_file() and (orphaned or path.name.startswith(".")):
            path.unlink()


@dataclass(frozen=True)
class Lines:
    """Whole lines of a record file, as they stand there, each with its newline."""

    raw: bytes
    #: Whether a batch takes no more.
    full: bool

    @property
    def entries(self) -> list[bytes]:
        """The lines without their newlines."""
        return self.raw[:-1].split(b"\n") if self.raw else []


def whole_lines(path: Path, first: int, complete: bool) -> Lines:
    """The next whole lines from byte `first` on, as many as make a batch.

    OPA may have been killed within its last line, before it answered. In a complete file that line is taken too,
    ended here: not in the file, since the disk may be full.
    """
    lines = bytearray()
    with path.open("rb") as file:
        file.seek(first)
        for number, line in enumerate(file):
            if not line.endswith(b"\n") and not complete:
                break
            if lines and (len(lines) + len(line) > MAX_BYTES or number == MAX_ENTRIES):
                return Lines(bytes(lines), True)
            lines += line if line.endswith(b"\n") else line + b"\n"
    return Lines(bytes(lines), False)


def read_range(path: Path, first: int, last: int) -> bytes:
    """The bytes [first, last) of a record file, its last line ended as `whole_lines` does."""
    with path.open("rb") as file:
        file.seek(first)
        raw = file.read(last - first)
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _next_batch(path: Path, progress: Progress, complete: bool) -> bytes:
    if progress.intended is not None:
        return read_range(path, progress.acknowledged, progress.intended)
    return whole_lines(path, progress.acknowledged, complete).raw
