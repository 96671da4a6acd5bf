"""CPU time of this process and of a PostgreSQL: on a machine that others use, too, it tells more than a rate does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

_One = TypeVar("_One")


class Spent(NamedTuple):
    """Seconds of one core."""

    own: float
    database: float


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
    return Spent(time.process_time(), ended + sum(one.user + one.system for one in times))


def since(before: Spent, url: str) -> Spent:
    """What they have used since."""
    now = spent(url)
    return Spent(now.own - before.own, now.database - before.database)


def each(url: str, work: Callable[[_One], object], what: Sequence[_One]) -> Spent:
    """What one of them takes: the least that it took of this process, and of the database the mean."""
    before = spent(url)
    own = []
    for one in what:
        begun = time.process_time()
        work(one)
        own.append(time.process_time() - begun)
    return Spent(min(own), since(before, url).database / len(own))
