"""The parts in which PostgreSQL keeps decisions, by their time: a week each.

New rows go into a small table with small indexes, whatever lies in the others, and a week that retention has emptied is
dropped whole. Everything asks the one table `decision`. SQLite has no parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, text
from sqlmodel import Session

#: What was there when parts came, and until the end of that week; and what belongs to no week that there is.
FIRST, REST = "decision_first", "decision_rest"

WEEK = 7 * 24 * 3600 * 1_000_000_000
#: Nanoseconds from 1970-01-01, a Thursday, to the first Monday.
_MONDAY = 4 * 24 * 3600 * 1_000_000_000
#: Weeks that are made beforehand, and those after which an empty one goes.
_AHEAD, _KEPT = 4, 4
#: Of all processes that make or drop parts, one at a time ("parts" in ASCII).
_LOCK = 0x7061727473

_PART = re.compile(r"decision_(\d{8})")
_PARTS = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'decision'::regclass")
_BOUND = text("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = to_regclass(:part)")


def end_of(time_ns: int) -> int:
    """The end of the week of a moment: the next Monday 00:00 UTC, in nanoseconds since 1970."""
    return time_ns + WEEK - (time_ns - _MONDAY) % WEEK


def are_kept(engine: Engine) -> bool:
    """Whether this database has parts."""
    return engine.dialect.name == "postgresql"


def keep(session: Session, time_ns: int) -> list[str]:
    """Make the parts of this week and the next ones, and drop old empty ones. Gives what was done, for the log.

    Each change waits for whoever uses `decision`, for as long as a lock may take, and is then over at once.
    """
    if not are_kept(session.connection().engine):
        return []
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    there = set(session.execute(_PARTS).scalars())
    return [*_make(session, there, time_ns), *_drop(session, there, time_ns)]


def _make(session: Session, there: set[str], time_ns: int) -> Iterator[str]:
    begin = end_of(time_ns) - WEEK
    covered = _end_of_first(session)
    for start in range(begin, begin + (_AHEAD + 1) * WEEK, WEEK):
        part = f"decision_{_day(start)}"
        if part in there or start < covered:
            continue
        span = {"start": start, "end": start + WEEK}
        # In the order in which batches take theirs.
        session.execute(text("LOCK TABLE batch IN SHARE ROW EXCLUSIVE MODE"))
        session.execute(text(f"LOCK TABLE {REST} IN ACCESS EXCLUSIVE MODE"))
        session.execute(text(f"CREATE TABLE {part} (LIKE decision INCLUDING DEFAULTS)"))
        # Rows of a sidecar whose clock is ahead came before their week: PostgreSQL refuses it while they lie elsewhere.
        moved = f"WITH moved AS (DELETE FROM {REST} WHERE time_ns >= :start AND time_ns < :end RETURNING *)"  # noqa: S608
        session.execute(text(f"{moved} INSERT INTO {part} SELECT * FROM moved"), span)  # noqa: S608 - names of ours
        session.execute(
            text(f"ALTER TABLE decision ATTACH PARTITION {part} FOR VALUES FROM ({start}) TO ({start + WEEK})")
        )
        yield f"made {part}"


def _drop(session: Session, there: set[str], time_ns: int) -> Iterator[str]:
    oldest = _day(end_of(time_ns) - (_KEPT + 1) * WEEK)
    for part in sorted(there):
        name = _PART.fullmatch(part)
        if name is None or name[1] >= oldest or _is_used(session, part):
            continue
        session.execute(text("LOCK TABLE batch, decision IN ACCESS EXCLUSIVE MODE"))
        if not _is_used(session, part):  # nobody has put anything there while we waited
            session.execute(text(f"DROP TABLE {part}"))
            yield f"dropped {part}, which was empty"


def _is_used(session: Session, part: str) -> bool:
    return session.execute(text(f"SELECT 1 FROM {part} LIMIT 1")).first() is not None  # noqa: S608 - names of ours


def _end_of_first(session: Session) -> int:
    """Where the part ends that was there first."""
    bound = session.execute(_BOUND, {"part": FIRST}).scalar() or ""
    ends = re.search(r"TO \('?(\d+)'?\)", bound)
    return int(ends[1]) if ends else 0


def _day(time_ns: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000):%Y%m%d}"
