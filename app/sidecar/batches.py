"""Cuts record files into decision batches: whole lines, each with a salt, under one Merkle root."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.core import merkle
from app.core.batch import BatchStatement
from app.core.errors import PlacetError
from app.sidecar import record_loss, record_origin
from app.sidecar.batch_notes import Batch, Notes
from app.sidecar.shipper import Lines, Progress, delete, whole_lines

#: Seconds that the first entry of a batch waits for others.
WAIT = 1.0


@dataclass(frozen=True)
class _Place:
    """The next lines that are in no batch, and where they begin. `complete`: nobody writes the file any more."""

    path: Path
    first: int
    lines: Lines
    complete: bool


class Cutter:
    """Makes the next batch of one sidecar's records. One thread at a time may use it."""

    def __init__(
        self,
        notes: Notes,
        opa: str,
        sidecar: Callable[[], str | None],
        told: Callable[[Batch, Sequence[bytes]], None] = lambda batch, entries: None,
    ) -> None:
        """`opa`: the digest of the binary. `sidecar` gives the SPIFFE ID, or None while it is not known.

        `told` hears of each batch and its entries, before it is shipped; more than once after a crash.
        """
        self._notes = notes
        self._told = told
        self._untold: list[tuple[Batch, list[bytes]]] = []
        self._opa = opa
        self._sidecar = sidecar
        self._since: tuple[Path, int, float] | None = None

    def cut(self, *, ended: bool = False) -> Batch | None:
        """Make and note the next batch, if one is due. `ended`: no OPA writes any more."""
        self._tell()
        sidecar = self._sidecar()
        place = self._next(ended) if sidecar else None
        if sidecar is None or place is None or not self._is_due(place):
            return None
        _sync(place.path)  # before the note: it must not promise what a crash of the machine takes back
        entries = place.lines.entries
        salts = secrets.token_bytes(merkle.SALT * len(entries))
        last = self._notes.last
        lost = record_loss.untold(place.path)
        batch = Batch.of(
            BatchStatement.describe(
                sidecar=sidecar,
                instance=self._notes.instance,
                file=place.path.name,
                first_entry=last.says.next_entry if last else 0,
                first_byte=place.first,
                entries=entries,
                leaves=merkle.leaf_hashes(salts, entries),
                previous=last.digest if last else None,
                opa=record_origin.opa_of(place.path) or self._opa,
                closed_at=datetime.now(UTC),
                dropped=lost,
            ),
            salts,
        )
        self._notes.add(batch)
        record_loss.told(place.path, lost)
        self._since = None
        self._untold.append((batch, entries))
        self._tell()
        return batch

    def tell_pending(self) -> None:
        """Tell of what an earlier agent cut: nobody knows whether it came to that."""
        notes = self._notes
        self._untold = [(batch, batch.entries(notes.records)) for batch in notes.pending]
        if not notes.pending and notes.last:
            self._untold = [(notes.last, [])]
        self._tell()

    def _tell(self) -> None:
        while self._untold:
            self._told(*self._untold[0])
            self._untold.pop(0)

    def delete_finished(self, *, ended: bool = False) -> None:
        """Delete record files that were acknowledged whole and that nobody writes any more."""
        paths = sorted(self._notes.records.glob("*.log"))
        waiting = {batch.says.file for batch in self._notes.pending}
        last = self._notes.last
        for path in paths if ended else paths[:-1]:
            progress = Progress(path)
            passed = last is not None and path.name < last.says.file
            if path.name in waiting or not (passed or progress.acknowledged >= path.stat().st_size):
                return
            delete(path, progress)

    def _next(self, ended: bool) -> _Place | None:
        last = self._notes.last
        paths = sorted(self._notes.records.glob("*.log"))
        for path in paths:
            if last and path.name < last.says.file:
                continue
            # What was shipped before batches were signed is in none.
            begun = last is not None and path.name == last.says.file
            first = last.says.last_byte if last and begun else Progress(path).acknowledged
            complete = ended or path != paths[-1]
            lines = whole_lines(path, first, complete)
            if lines.raw:
                return _Place(path, first, lines, complete)
            if not complete:
                return None
        return None

    def _is_due(self, place: _Place) -> bool:
        if place.complete or place.lines.full:
            return True
        if self._since is None or self._since[:2] != (place.path, place.first):
            self._since = (place.path, place.first, time.monotonic())
        return time.monotonic() - self._since[2] >= WAIT


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        raise PlacetError(f"cannot write {path} to disk: {error.strerror}") from error
    finally:
        os.close(descriptor)
