"""What a batch that was taken says against its sidecar: its clock, its OPA, records dropped, records sent again.

Such a batch is evidence, so it is stored; a break opens in the same transaction. How many open ones of a kind stop the
sidecar is the system's to say (`System.lineage_limits`): one, where it says nothing, and of repeats always.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, func
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select

from app.control import record_lines, states
from app.control.batch_place import Place
from app.control.plane import Plane
from app.control.record_rows import COLUMNS
from app.control.store import Batch, Decision, LineageBreak, System
from app.core.batch import BatchStatement
from app.core.modes import moment
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")

#: What may be judged, by the name that people give it.
KINDS = {"clock": Reason.LINEAGE_CLOCK, "opa": Reason.LINEAGE_OPA, "dropped": Reason.LINEAGE_DROPPED}
_REASONS = {**KINDS, "repeat": Reason.LINEAGE_REPEAT}
LIMITED = "limits are of clock, opa and dropped"
UNLIMITED = "gaps, forks and repeats stop a sidecar at once, whatever its system says"
#: Open breaks of a kind that stop a sidecar, unless the system says otherwise; and what says that none does.
AT_ONCE, NEVER = 1, 0
MAX_LIMIT = 1000

#: How far a batch's time may lie before that of the batch before it (times are whole seconds, and clocks are slewed),
#: and after the timestamp of its signature.
BACK, AHEAD = timedelta(seconds=2), timedelta(seconds=60)
#: How far it may lie before that timestamp, beyond the system's horizon: batches wait on disk while nobody signs.
LATE = timedelta(days=7)

#: Open breaks of one kind of one sidecar that are kept; beyond that they are only counted.
MAX_KEPT = MAX_LIMIT

_ID, _TIME = COLUMNS.index("decision_id"), COLUMNS.index("time_ns")
_DECISIONS = Decision.metadata.tables["decision"].c
#: Made once: each batch needs it. By the time first, which says in which part of the table to look.
_SAME = (
    core_select(_DECISIONS.decision_id, _DECISIONS.batch)
    .where(
        _DECISIONS.time_ns.in_(bindparam("times", expanding=True)),
        _DECISIONS.decision_id.in_(bindparam("ids", expanding=True)),
        _DECISIONS.system == bindparam("system"),
        _DECISIONS.sidecar == bindparam("sidecar"),
        _DECISIONS.batch != bindparam("batch"),
    )
    .limit(1)
)


def judge(
    session: Session, row: Batch, says: BatchStatement, before: Place, rows: Sequence[tuple[Any, ...]] = ()
) -> list[LineageBreak]:
    """Open the breaks of a batch whose row was added in this transaction, which `lineage.serialise` guards.

    `before` is where its sidecar stood when it came, `rows` are those of its decisions (`record_rows.COLUMNS`). What
    comes back is for `tell`, after the commit.
    """
    states.named(session, row.system, says.states)
    found = [*_against(session, row, says, before), *_repeated(session, row, rows)]
    if not found:
        return []
    limits = session.get_one(System, row.system).lineage_limits
    return [_opened(session, row, kind, detail, limits.get(kind, AT_ONCE)) for kind, detail in found]


def tell(plane: Plane, opened: list[LineageBreak]) -> None:
    """Count and log what was opened, once that is certain."""
    for row in opened:
        plane.metrics.breaks.labels(row.system, row.kind).inc()
        said = "stops" if row.stops else "is noted of"
        log.error("lineage break %s %s %s/%s: %s: %s", row.id, said, row.system, row.sidecar, row.kind, row.detail)


def _against(session: Session, row: Batch, says: BatchStatement, before: Place) -> Iterator[tuple[str, str]]:
    """What a batch says against its sidecar: the kind, and the detail."""
    closed_at = before.last_closed_at
    if closed_at is not None and says.closed_at < closed_at - BACK:
        yield "clock", f"closed at {moment(says.closed_at)}, the batch before it at {moment(closed_at)}"
    elif row.signed_at is not None and (wrong := _beside_timestamp(session, row, says)):
        yield "clock", f"closed at {moment(says.closed_at)}, {wrong} its timestamp of {moment(row.signed_at)}"
    if not before.is_first and before.last_opa != says.opa:
        yield "opa", f"the OPA {says.opa} wrote it, the batch before it was written by {before.last_opa}"
    if says.dropped:
        yield "dropped", f"of {says.dropped} answers of OPA there is no record"


def _repeated(session: Session, row: Batch, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, str]]:
    """Records that were sent before, in another batch of the sidecar: looked for by the first and the last decision.

    OPA gives each decision an id of its own, so the same records again are the same ids at the same times. To look for
    all of them would take longer than to store them.
    """
    # Made of the bytes where a record has no id of its own: two such records may well be the same.
    ends = [one for one in (*rows[:1], *rows[-1:]) if not one[_ID].startswith(record_lines.WITHOUT_ID)]
    if not ends:
        return
    asked: dict[str, Any] = {"system": row.system, "sidecar": row.sidecar, "batch": row.id}
    asked |= {"ids": sorted({one[_ID] for one in ends}), "times": sorted({one[_TIME] for one in ends})}
    found = session.connection().execute(_SAME, asked).first()
    if found is not None:
        yield "repeat", f"decision {found.decision_id} was sent before, in batch {found.batch}"


def _beside_timestamp(session: Session, row: Batch, says: BatchStatement) -> str:
    """How the batch's time lies beside the timestamp authority's; empty when near enough."""
    assert row.signed_at is not None
    if says.closed_at > row.signed_at + AHEAD:
        return "after"
    if says.closed_at >= row.signed_at - LATE:
        return ""
    horizon = timedelta(seconds=session.get_one(System, row.system).horizon_seconds)
    return "long before" if says.closed_at < row.signed_at - LATE - horizon else ""


def _opened(session: Session, row: Batch, kind: str, detail: str, limit: int) -> LineageBreak:
    assert row.payload is not None
    found = LineageBreak(
        system=row.system,
        sidecar=row.sidecar,
        instance=row.instance,
        kind=str(_REASONS[kind]),
        detail=f"batch {row.id}: {detail}",
        stops=False,
        batch=row.id,
        body_sha256=row.payload.removeprefix("sha256:"),
    )
    theirs = (LineageBreak.system == row.system, LineageBreak.sidecar == row.sidecar, LineageBreak.kind == found.kind)
    query = select(func.count()).select_from(LineageBreak).where(*theirs, col(LineageBreak.cleared_at).is_(None))
    already = session.exec(query).one()
    found.stops = limit != NEVER and already + 1 >= limit
    if already < MAX_KEPT or found.stops:
        session.add(found)
        session.flush()
    return found
