"""The bars above a list of decisions: places and heights of rectangles, since pages may carry no style of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from sqlmodel import Session

from app.control import summary
from app.control.decision_filter import OUTCOMES, Filter, nanoseconds
from app.control.store.columns import now

#: Units of the drawing.
WIDTH, HEIGHT = 1000, 60
#: What is shown where nobody says since when.
_SPAN = timedelta(days=2)


@dataclass(frozen=True)
class Bar:
    """One rectangle: the decisions of one outcome in one span of time."""

    outcome: str
    start_ns: int
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Bars:
    """All of them, what their span is called, and how many decisions they stand for."""

    items: list[Bar]
    bucket: str
    total: int


def bars(session: Session, wanted: Filter) -> Bars | None:
    """The bars of a filter; None where only records can tell, or the time is too long for any."""
    if not summary.are_counted(wanted):
        return None
    until = wanted.until or now() + timedelta(seconds=1)
    since = wanted.since or until - _SPAN
    bucket = next((name for name, size in summary.BUCKETS.items() if (until - since).total_seconds() <= size * 200), "")
    if not bucket or since >= until:
        return None
    found = summary.histogram(session, replace(wanted, since=since, until=until), bucket)
    tallest = max((sum(one.counts.values()) for one in found), default=0)
    width = summary.BUCKETS[bucket] * 1_000_000_000
    first = nanoseconds(since) // width
    number = nanoseconds(until) // width - first + 1
    items = []
    for one in found:
        below = 0.0
        for outcome in reversed(OUTCOMES):
            if count := one.counts[outcome]:
                height = max(1.0, HEIGHT * count / tallest)
                x = WIDTH * (one.start_ns // width - first) / number
                below += height
                y = round(max(0.0, HEIGHT - below), 2)
                items.append(
                    Bar(outcome, one.start_ns, count, round(x, 2), y, round(0.9 * WIDTH / number, 2), round(height, 2))
                )
    return Bars(items, bucket, sum(bar.count for bar in items))
