"""How many of those who may sign did: one person stands for one entry of a policy, and one entry for one person."""

from __future__ import annotations

from collections.abc import Iterable


def counted(signatures: Iterable[tuple[str, str]]) -> int:
    """The most pairs of a person and an entry among those that signed, no person and no entry in two of them.

    Neither the number of people nor that of entries says it: one person may sign as several entries, and several
    people as one. `signatures` are a person and an entry each. Found by augmenting paths (Kuhn).
    """
    entries: dict[str, set[str]] = {}
    for person, entry in signatures:
        entries.setdefault(person, set()).add(entry)
    by: dict[str, str] = {}

    def placed(person: str, tried: set[str]) -> bool:
        for entry in sorted(entries[person] - tried):
            if entry in tried:
                continue
            tried.add(entry)
            if entry not in by or placed(by[entry], tried):
                by[entry] = person
                return True
        return False

    return sum(placed(person, set()) for person in sorted(entries))
