"""CPU time of this process, of those beside it that read batches, and of a PostgreSQL.

On a machine that others use, too, it tells more than a rate does.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

_One = TypeVar("_One")


class Spent(NamedTuple):
    """Seconds of one core."""

    own: float
    database: float
    #: The processes that this one has started to work for it.
    beside: float


def spent(url: str) -> Spent:
    """What this process and the PostgreSQL behind the URL have used so far."""
    import psutil
    import psycopg

    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as connection:
        found = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert found is not None
        server = psutil.Process(found[0]).parent()
        assert server is not None
        times = [server.cpu_times(), *(one.cpu_times() for one in server.children())]
    # Of the first process with those of its children that have ended.
    ended = times[0].children_user + times[0].children_system
    beside = [psutil.Process(one.pid).cpu_times() for one in multiprocessing.active_children()]
    return Spent(time.process_time(), ended + _sum(times), _sum(beside))


def _sum(times: Iterable[Any]) -> float:
    return float(sum(one.user + one.system for one in times))


def since(before: Spent, url: str) -> Spent:
    """What they have used since."""
    now = spent(url)
    return Spent(*(one - other for one, other in zip(now, before, strict=True)))


def each(url: str, work: Callable[[_One], object], what: Sequence[_One]) -> Spent:
    """What one of them takes: the least that it took of this process, and of the database the mean."""
    before = spent(url)
    own = []
    for one in what:
        begun = time.process_time()
        work(one)
        own.append(time.process_time() - begun)
    taken = since(before, url)
    return Spent(min(own), taken.database / len(own), taken.beside / len(own))
