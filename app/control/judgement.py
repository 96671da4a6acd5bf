"""What a batch that was taken says against its sidecar: its clock, its OPA, records dropped, records sent again.

Such a batch is evidence, so it is stored; a break opens in the same transaction. How many open ones of a kind stop the
sidecar, or one after which time, is the system's to say (`app.core.break_limit`): one at once, where it says nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select

from app.control import lineage, states
from app.control.batch_place import Place
from app.control.plane import Plane
from app.control.record_rows import COLUMNS
from app.control.store import Batch, Decision, LineageBreak, System
from app.core import break_limit
from app.core.batch import BatchStatement
from app.core.break_limit import Limit
from app.core.instant import written
from app.core.reason_codes import Reason

log = logging.getLogger("placet.control")

#: How far a batch's time may lie before that of the batch before it (times are whole seconds, and clocks are slewed),
#: and after the timestamp of its signature.
BACK, AHEAD = timedelta(seconds=2), timedelta(seconds=60)
#: How far it may lie before that timestamp, beyond the system's horizon: batches wait on disk while nobody signs.
LATE = timedelta(days=7)

#: Open breaks of one kind of one sidecar that are kept; beyond that they are only counted.
MAX_KEPT = break_limit.MAX_COUNT

_ID, _TIME = COLUMNS.index("decision_id"), COLUMNS.index("time_ns")
_DECISIONS = Decision.metadata.tables["decision"].c
#: Made once, as it takes long. By the time first, which says in which part of the table to look.
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
    session: Session, row: Batch, says: BatchStatement, before: Place, named: Sequence[tuple[Any, ...]] = ()
) -> list[LineageBreak]:
    """Open the breaks of a batch whose row was added in this transaction, which `lineage.serialise` guards.

    `before` is where its sidecar stood when it came, `named` are the rows of its decisions that have an id of their own
    (`record_rows.COLUMNS`). What comes back is for `tell`, after the commit.
    """
    states.named(session, row.system, says.states)
    found = [*_against(session, row, says, before), *_repeated(session, row, named, before.latest_ns)]
    if not found:
        return []
    limits = session.get_one(System, row.system).lineage_limits
    return [_opened(session, row, kind, detail, break_limit.of(limits, kind)) for kind, detail in found]


def tell(plane: Plane, opened: list[LineageBreak]) -> None:
    """Count and log what was opened, once that is certain."""
    for row in opened:
        plane.metrics.breaks.labels(row.system, row.kind).inc()
        said = f"stops at {written(row.stops_at)}" if row.stops_at else "stops" if row.stops else "is noted of"
        log.error("lineage break %s %s %s/%s: %s: %s", row.id, said, row.system, row.sidecar, row.kind, row.detail)


def _against(session: Session, row: Batch, says: BatchStatement, before: Place) -> Iterator[tuple[Reason, str]]:
    """What a batch says against its sidecar: the reason, and the detail."""
    closed_at = before.last_closed_at
    if closed_at is not None and says.closed_at < closed_at - BACK:
        yield Reason.LINEAGE_CLOCK, f"closed at {written(says.closed_at)}, the batch before it at {written(closed_at)}"
    elif row.signed_at is not None and (wrong := _beside_timestamp(session, row, says)):
        yield (
            Reason.LINEAGE_CLOCK,
            f"closed at {written(says.closed_at)}, {wrong} its timestamp of {written(row.signed_at)}",
        )
    if not before.is_first and before.last_opa != says.opa:
        yield Reason.LINEAGE_OPA, f"the OPA {says.opa} wrote it, the batch before it was written by {before.last_opa}"
    if says.dropped:
        yield Reason.LINEAGE_DROPPED, f"of {says.dropped} answers of OPA there is no record"


def _repeated(
    session: Session, row: Batch, named: Sequence[tuple[Any, ...]], latest_ns: int | None
) -> Iterator[tuple[Reason, str]]:
    """Records that were sent before, or twice in this batch.

    OPA gives each decision an id of its own, so the same record again is the same id at the same time. Those that are
    later than all that the sidecar has sent are new: of the others, few where all is well, each is looked for.
    """
    ours = [(one[_ID], one[_TIME]) for one in named]
    if len(set(ours)) < len(ours):
        (twice, _), times = Counter(ours).most_common(1)[0]
        yield Reason.LINEAGE_REPEAT, f"decision {twice} is in it {times} times"
    old = [one for one in ours if latest_ns is not None and one[1] <= latest_ns]
    if not old:
        return
    ids, times_ns = (sorted(set(some)) for some in zip(*old, strict=True))
    asked = {"system": row.system, "sidecar": row.sidecar, "batch": row.id, "ids": ids, "times": times_ns}
    found = session.connection().execute(_SAME, asked).first()
    if found is not None:
        yield Reason.LINEAGE_REPEAT, f"decision {found.decision_id} was sent before, in batch {found.batch}"


def _beside_timestamp(session: Session, row: Batch, says: BatchStatement) -> str:
    """How the batch's time lies beside the timestamp authority's; empty when near enough."""
    assert row.signed_at is not None
    if says.closed_at > row.signed_at + AHEAD:
        return "after"
    if says.closed_at >= row.signed_at - LATE:
        return ""
    horizon = timedelta(seconds=session.get_one(System, row.system).horizon_seconds)
    return "long before" if says.closed_at < row.signed_at - LATE - horizon else ""


def _opened(session: Session, row: Batch, kind: Reason, detail: str, limit: Limit) -> LineageBreak:
    assert row.payload is not None
    opened_at, stops_at = lineage.times(limit)
    found = LineageBreak(
        system=row.system,
        sidecar=row.sidecar,
        instance=row.instance,
        kind=str(kind),
        detail=f"batch {row.id}: {detail}",
        stops=False,
        stops_at=stops_at,
        opened_at=opened_at,
        batch=row.id,
        body_sha256=row.payload.removeprefix("sha256:"),
    )
    theirs = (LineageBreak.system == row.system, LineageBreak.sidecar == row.sidecar, LineageBreak.kind == found.kind)
    still = (*theirs, col(LineageBreak.cleared_at).is_(None))
    already = session.exec(select(func.count()).select_from(LineageBreak).where(*still)).one()
    found.stops = limit.count > 0 and already + 1 >= limit.count
    if already < MAX_KEPT or (found.stops and not _stops_by(session, still, stops_at)):
        session.add(found)
        session.flush()
    return found


def _stops_by(session: Session, still: tuple[Any, ...], stops_at: datetime | None) -> bool:
    """Whether one of these stops the sidecar by that time anyway."""
    if stops_at is None:
        return False
    query = select(LineageBreak.id).where(*still, col(LineageBreak.stops), col(LineageBreak.stops_at) <= stops_at)
    return session.exec(query.limit(1)).first() is not None
