"""Erased entries: exactly those that the rows of erasures name, with nothing left of them but what stays."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.control.erasing import BLANK
from app.control.fsck import rows
from app.control.fsck.finding import Finding, changed
from app.control.fsck.tables import Tables
from app.control.raw_records import Entries
from app.core import merkle

#: What an emptied row holds in its columns, as the tables give them.
_BLANK = {name: "[]" if value == [] else value for name, value in BLANK.items()}

#: Entries that are named one by one.
_NAMED = 20


@dataclass(frozen=True)
class Erased:
    """What the rows of erasures say of one batch."""

    batch: int
    #: The erasure that took an entry, by its number; what retention took stands in none.
    taken: dict[int, int]
    #: Whether retention took all entries, and whether it took the decision rows, too.
    whole: bool = False
    rows_too: bool = False
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, tables: Tables, batch: int) -> Erased:
        """Read the rows about a batch."""
        taken: dict[int, int] = {}
        whole = rows_too = False
        findings = []
        for identifier, erasure, decisions, numbers, deleted in tables.erased(batch):
            try:
                if decisions is None or json.loads(decisions) is None:
                    whole, rows_too = True, rows_too or deleted is not None
                    continue
                taken |= dict.fromkeys(map(int, json.loads(numbers)), erasure)
            except (ValueError, TypeError):
                findings.append(changed("erased_batch", identifier, "numbers", "numbers of entries", numbers))
        return cls(batch, taken, whole, rows_too, tuple(findings))

    def entries(self, entries: Entries, salts: bytes | None) -> Iterator[Finding]:
        """Compare the entries that are gone with those that should be; their salts are gone, too."""
        yield from self.findings
        gone = {number for number, entry in enumerate(entries) if entry is None}
        due = set(range(len(entries))) if self.whole else set(self.taken)
        for number in sorted(gone - due)[:_NAMED]:
            yield self._finding("object", f"entry {number} of the batch is erased, and no erasure says so")
        for number in sorted(due - gone)[:_NAMED]:
            yield self._finding("object", f"an erasure says that entry {number} of the batch is gone, and it is there")
        size = merkle.SALT
        for number in sorted(gone)[:_NAMED] if salts is not None else ():
            if salts is not None and any(salts[size * number : size * (number + 1)]):
                yield self._finding("salts", f"entry {number} of the batch is erased, and its salt is there")

    def part(
        self, stored: Sequence[tuple[Any, ...]], entries: Entries, places: Sequence[int]
    ) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Decision rows of entries that are there, and of erased ones."""
        gone = {place for place, entry in zip(places, entries, strict=True) if entry is None}
        there = [row for row in stored if row[2 + rows.PLACE] not in gone]
        return there, [row for row in stored if row[2 + rows.PLACE] in gone]

    def rows(self, away: Sequence[tuple[Any, ...]], system: Any, sidecar: Any) -> Iterator[Finding]:
        """What is wrong with the rows of erased entries. Whether time and outcome are right nobody can tell."""
        seen: set[Any] = set()
        for row in away:
            named = dict(zip(rows.COLUMNS, row, strict=True))
            place = named["position"]
            if place in seen or self.rows_too:
                yield Finding("surplus", "there is another row of this entry, or none should be", "decision", row[0])
                continue
            seen.add(place)
            yield from rows.number(row, self.batch, place)
            due: dict[str, Any] = {"system": system, "sidecar": sidecar}
            if place in self.taken:
                # More than one erasure may have named it; the row is of the last one that found it.
                due |= {**_BLANK, "erased": named["erased"] if named["erased"] is not None else self.taken[place]}
            elif self.whole:
                due |= {"erased": None}
            for name, value in due.items():
                if named[name] != value:
                    yield changed("decision", row[0], name, value, named[name], "the record was erased")
        for number in sorted(set(self.taken) - seen)[:_NAMED] if not self.rows_too else ():
            yield Finding("missing", f"there is no row of entry {number}, which was erased", "batch", self.batch)

    def _finding(self, column: str, detail: str) -> Finding:
        return Finding("changed", detail, "batch", self.batch, column)
