"""How many decisions there were, by time and outcome, and which values were most frequent.

Batches know their decisions' times and outcomes, so that a histogram of a system counts batches, and rows only of
those that span two of its bars. Facets are of the newest decisions that fit, up to a bound: `of` says how many.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import String, and_, cast, func
from sqlmodel import Session, col, select

from app.control import batch_values
from app.control.batch_search import ByBatch
from app.control.decision_filter import NEWEST_FIRST, OUTCOMES, Filter, nanoseconds
from app.control.objects import Objects
from app.control.problems import Invalid
from app.control.store import Batch, Decision
from app.control.store.columns import now
from app.control.value_counts import COUNTS

#: Seconds of a bar, by its name.
BUCKETS = {"minute": 60, "hour": 3600, "day": 86400}
MAX_BUCKETS = 1000
#: What is summarised where nobody says since when, by the length of a bar.
_SPANS = {"minute": timedelta(hours=3), "hour": timedelta(days=7), "day": timedelta(days=90)}
#: Decisions whose values are counted, and the values that are given.
FACETS_OF = 5_000
TOP = 10
#: Seconds in which they are looked for.
PATIENCE = 5.0
#: Batches that one query names.
_NAMED = 500
#: What batches know, beside one value that they count.
_KNOWN = {"system", "sidecar", "outcome", "since", "until"}
_FACETS = ("outcome", "action", "resource_type", "subject_id", "sidecar", "policy", "mode")


@dataclass(frozen=True)
class Bucket:
    """Decisions of one bar, which begins at `start_ns`, by outcome."""

    start_ns: int
    counts: dict[str, int]


@dataclass(frozen=True)
class Facets:
    """The most frequent values among the newest `of` decisions, by column."""

    of: int
    values: dict[str, list[tuple[str, int]]]


def histogram(session: Session, wanted: Filter, bucket: str) -> list[Bucket]:
    """The bars that are not empty, oldest first. Raises `Invalid` for what cannot be counted so."""
    wanted = bounded(wanted, bucket)
    width = BUCKETS[bucket] * 1_000_000_000
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    conditions = list(wanted.conditions())
    if _batches_know(wanted):
        whole = and_(
            col(Batch.oldest_ns) >= nanoseconds(wanted.since or now()),
            col(Batch.newest_ns) < nanoseconds(wanted.until or now()),
            col(Batch.oldest_ns) // width == col(Batch.newest_ns) // width,
        )
        _of_batches(session, wanted, whole, width, counts)
        parts = session.exec(select(Batch.id).where(~whole, *_batch_conditions(wanted))).all()
        for at in range(0, len(parts), _NAMED):
            some = col(Decision.batch).in_(parts[at : at + _NAMED])
            _of_rows(session, [*conditions, some], width, counts)
    else:
        _of_rows(session, conditions, width, counts)
    return [Bucket(number * width, {name: one[name] for name in OUTCOMES}) for number, one in sorted(counts.items())]


def facets(session: Session, objects: Objects, wanted: Filter, bucket: str = "hour") -> Facets:
    """The most frequent values of the newest decisions that fit."""
    wanted = bounded(wanted, bucket)
    # Reasons as their text: few differ, and each is parsed once.
    columns = [*(getattr(Decision, name) for name in _FACETS), cast(Decision.reasons, String)]
    if wanted.has_index:
        query = select(*columns).where(*wanted.conditions()).order_by(*NEWEST_FIRST).limit(FACETS_OF)
        rows = [tuple(one) for one in session.execute(query)]
    else:
        rows = ByBatch(session, objects, wanted, FACETS_OF, columns=columns).newest(time.monotonic() + PATIENCE)
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*_FACETS, "reason")}
    for name, values in zip((*_FACETS, "reasons"), zip(*rows, strict=True), strict=False):
        if name in counts:
            counts[name].update(value for value in values if value is not None)
            continue
        for text, number in Counter(values).items():
            counts["reason"].update(dict.fromkeys(json.loads(text or "[]"), number))
    return Facets(len(rows), {name: one.most_common(TOP) for name, one in counts.items()})


def bounded(wanted: Filter, bucket: str) -> Filter:
    """The same filter between two times. Raises `Invalid`."""
    if bucket not in BUCKETS:
        raise Invalid(f"bucket must be one of {', '.join(BUCKETS)}")
    if wanted.wanted is not None:
        raise Invalid("a summary counts what rows say; leave out text and where")
    until = wanted.until or now() + timedelta(seconds=1)
    since = wanted.since or until - _SPANS[bucket]
    if (until - since).total_seconds() > MAX_BUCKETS * BUCKETS[bucket]:
        raise Invalid(f"that makes more than {MAX_BUCKETS} bars; ask for less time, or longer bars")
    return replace(wanted, since=since, until=until)


def are_counted(wanted: Filter) -> bool:
    """Whether it takes few rows to count what fits: by an index, or as batches know it."""
    return wanted.wanted is None and (wanted.has_index or _batches_know(wanted))


def _batches_know(wanted: Filter) -> bool:
    counted = wanted.counted().keys()
    return len(counted) <= 1 and wanted.asked() <= _KNOWN | counted


def _batch_conditions(wanted: Filter) -> list[Any]:
    return [*wanted.batch_conditions(), *map(batch_values.condition, wanted.counted().values())]


def _of_rows(session: Session, conditions: list[Any], width: int, counts: defaultdict[int, Counter[str]]) -> None:
    bar = (col(Decision.time_ns) // width).label("bar")
    query = select(bar, Decision.outcome, func.count()).where(*conditions).group_by(bar, col(Decision.outcome))
    for number, outcome, count in session.exec(query):
        counts[int(number)][outcome] += count


def _of_batches(
    session: Session, wanted: Filter, whole: Any, width: int, counts: defaultdict[int, Counter[str]]
) -> None:
    bar = (col(Batch.newest_ns) // width).label("bar")
    counted = next((batch_values.counted(one) for one in wanted.counted().values()), None)
    counts_of: Any = Batch if counted is None else counted.c
    sums = (func.sum(getattr(counts_of, name)) for name in COUNTS.values())
    query = select(bar, *sums).where(whole, *wanted.batch_conditions()).group_by(bar)
    if counted is not None:
        query = query.join(counted, counted.c.batch == Batch.id)
    for number, *numbers in session.execute(query):
        for outcome, count in zip(OUTCOMES, numbers, strict=True):
            if wanted.outcome in (None, "", outcome):
                counts[int(number)][outcome] += int(count or 0)
