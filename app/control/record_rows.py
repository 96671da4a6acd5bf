"""Decision rows, made of the lines of a batch. Nothing here needs the database: another process may do it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from app.control import record_lines
from app.control.record_lines import Line
from app.core import usual_record, word_filter
from app.core.packed_digest import packed_digest
from app.core.usual_record import Usual

#: The columns of a decision row, but its number and its batch.
COLUMNS = ("system", "sidecar", "position", *Line._fields)

#: How many lines there are of each (outcome, reason or mode; its name).
Counts = Counter[tuple[str, str]]


class Read:
    """The entries of a batch, and what is made of them."""

    def __init__(
        self, system: str, sidecar: str, entries: Sequence[bytes], usual: Sequence[Usual | None] | None = None
    ) -> None:
        """`usual`: the entries as `usual_record.read_all` reads them, where that was done already."""
        self.entries = entries
        self._usual = usual_record.read_all(entries) if usual is None else usual
        self.words = word_filter.build(entries, usual=self._usual)
        self.counts = Counts()
        #: The least and the greatest of the rows.
        self._times: tuple[int | None, int | None] = None, None
        self._place = system, sidecar

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """A row for each decision, without its batch: values of `COLUMNS`. The counts are right when all were read.

        No entry makes it fail: what cannot be read, or be stored as it is, is in the object.
        """
        received_ns = int(datetime.now(UTC).timestamp() * 1_000_000) * 1000
        outcomes: Counter[str] = Counter()
        times = []
        for position, line in enumerate(record_lines.read_lines(self.entries, self._usual)):
            if line is None:
                outcomes["other"] += 1
                continue
            outcomes[line.outcome] += 1
            if line.mode:
                self.counts["mode", line.mode] += 1
            if line.outcome == "deny":
                self.counts.update([("reason", reason) for reason in line.reasons])
            time_ns = received_ns if line.time_ns is None else line.time_ns
            times.append(time_ns)
            yield *self._place, position, *columns_of(line, time_ns)
        self.counts.update({("outcome", outcome): number for outcome, number in outcomes.items()})
        self._times = min(times, default=None), max(times, default=None)

    def summary(self) -> dict[str, int | None]:
        """Columns of the batch that are right when all rows were read."""
        of = {name: self.counts["outcome", name] for name in ("allow", "deny", "unreadable", "other")}
        return {
            "allows": of["allow"],
            "denials": of["deny"],
            "unreadable": of["unreadable"],
            "other_lines": of["other"],
            "oldest_ns": self._times[0],
            "newest_ns": self._times[1],
        }


def columns_of(line: Line, time_ns: int | None) -> tuple[Any, ...]:
    """A line as the database holds it, with the time that it is given."""
    decision_id, outcome, _, reasons, issuer, subject, action, kind, resource, policy, library, mode, execution = line
    digests = packed_digest(policy), packed_digest(library)
    text = _reasons_text(reasons)
    return decision_id, outcome, time_ns, text, issuer, subject, action, kind, resource, *digests, mode, execution


@lru_cache(maxsize=1024)
def _reasons_text(reasons: tuple[str, ...]) -> str:
    return json.dumps(reasons)
