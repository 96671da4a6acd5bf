"""The records of a batch, as far as a look at their bytes does not rule out that they hold what is looked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from app.control import raw_records
from app.control.objects import Objects
from app.control.problems import NotFound
from app.control.raw_records import Changed
from app.core import record_frames
from app.core.record_frames import ALL_GROUPS, Sifted
from app.core.record_words import Wanted


class Counted(raw_records.Named, Protocol):
    """A batch of which it is known how many entries it has."""

    @property
    def entries(self) -> int | None:
        """How many there are, where that is known."""


class SiftedRecords:
    """Those of one batch. Where its object is not what was stored, there are none, and `positions` says so."""

    def __init__(self, objects: Objects, batch: Counted, content: Wanted, groups: int = ALL_GROUPS) -> None:
        """Look at those of some groups (`record_frames.group_of`), a bit each."""
        self._objects, self._batch, self._content = objects, batch, content
        self._numbers: dict[int, int] = {}
        try:
            self._sifted: Sifted | None = raw_records.sift(objects, batch, content.may_be_in, groups)
        except (Changed, NotFound):
            self._sifted = None

    @property
    def positions(self) -> list[int] | None:
        """The positions of the decisions that may fit; None where only all rows together tell which those are."""
        sifted = self._sifted
        if sifted is None or sifted.entries != self._batch.entries or self._batch.object.endswith(record_frames.PLAIN):
            return None
        return [*sifted.found]

    @property
    def size(self) -> int:
        """Bytes of those that are not ruled out."""
        return sum(map(len, self._sifted.found.values())) if self._sifted else 0

    def place(self, positions: Iterable[int]) -> bool:
        """Find the entries of these positions. False where the records are not those that were stored with the rows."""
        if self._sifted is None:
            return False
        try:
            self._numbers = raw_records.numbers(self._objects, self._batch, [*positions])
        except (Changed, NotFound):
            return False
        return all(0 <= number < self._sifted.entries for number in self._numbers.values())

    def hold(self, position: int) -> bool:
        """Whether the record at a position, which was placed, holds what is looked for."""
        entry = self._sifted.found.get(self._numbers[position]) if self._sifted else None
        return entry is not None and self._content.in_record(entry)
