"""Decisions that a sidecar sent twice: as ingest would have told them (`app.control.judgement`), had it seen them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from app.control import record_lines
from app.control.fsck.finding import Finding
from app.control.fsck.scratch import Scratch
from app.control.fsck.tables import Tables
from app.control.store.as_stored import Row
from app.control.store.decision import POSITIONS
from app.core.reason_codes import Reason


def check(
    tables: Tables,
    scratch: Scratch,
    scope: tuple[str | None, str | None],
    told: Collection[tuple[str, str]],
    breaks: Collection[Row],
) -> Iterator[Finding]:
    """A finding for each batch that repeats decisions of another one, or of its own.

    Not of batches of which a break says so already, nor of rows that were named for what they hold.
    """
    known = {row["batch"] for row in breaks if row["kind"] == Reason.LINEAGE_REPEAT}
    orphans = {batch for batch, *_ in scratch.orphans()}
    for decision_id, first, last in tables.repeats(*scope):
        if record_lines.may_be_made(decision_id):
            continue
        earlier, later = first // POSITIONS, last // POSITIONS
        rows = [("decision", str(first)), ("decision", str(last)), ("batch", str(earlier)), ("batch", str(later))]
        # That the earlier one repeats others itself says nothing of the later one.
        if later not in known and orphans.isdisjoint((earlier, later)) and not any(one in told for one in rows):
            scratch.add_repeat(later, earlier, decision_id)
    for later, earlier, count, decision_id in scratch.repeats():
        more = f"{count} decisions, {decision_id} among them, are" if count > 1 else f"decision {decision_id} is"
        where = "in it twice" if later == earlier else f"in batch {earlier} of the same sidecar, too"
        yield Finding("repeat", f"{more} {where}", "batch", later, found=decision_id)
