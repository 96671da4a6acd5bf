"""Which decisions of executions a batch holds, and their leaf hashes: how the journal's statements name decisions."""

from __future__ import annotations

from collections.abc import Sequence

from app.core import merkle
from app.core.record_entry import read_entry
from app.sidecar.batch_notes import Batch
from app.sidecar.journal import Journal, Leaf


def tell(journal: Journal, batch: Batch, entries: Sequence[bytes]) -> None:
    """Tell the journal what a batch holds. Without entries: only where it ends."""
    found = []
    for at, raw in enumerate(entries):
        named = _named(raw)
        if named is not None:
            salt = batch.salts[merkle.SALT * at : merkle.SALT * (at + 1)]
            found.append(Leaf(*named, merkle.leaf_hash(salt, raw)))
    journal.recorded((batch.says.file, batch.says.last_byte), found)


def _named(raw: bytes) -> tuple[str, str] | None:
    """The ids of a decision and of the execution that it was made in: what a request merely says of one counts not."""
    entry = read_entry(raw)
    if entry is None or entry.decision_id is None or entry.execution is None:
        return None
    return entry.decision_id, entry.execution
