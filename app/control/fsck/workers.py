"""Batches are checked here, or in several processes: each opens the database and the object store for itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial

from app.control import processes
from app.control.fsck.batch import Checked, Checker, Task
from app.control.fsck.claims import Signers
from app.control.fsck.kept import Said, said_by
from app.control.fsck.log import Log
from app.control.fsck.tables import reading
from app.control.objects import Objects
from app.control.plane import StatementVerifier
from app.control.settings import Settings
from app.control.store import Seals, Store
from app.core.errors import PlacetError


@dataclass(frozen=True)
class Means:
    """What checking needs, as it can be handed to another process."""

    settings: Settings
    #: The URLs by which this control plane has issued identities to its sidecars.
    issuers: tuple[str, ...] = ()
    #: Makes what verifies signatures by the lineage log; None where no log was named.
    verifier: Callable[[], StatementVerifier] | None = None
    #: Of which the tiles are read, too; None: they are left to a monitor.
    log: Log | None = None
    #: Reads evidence of releases, approvals and modes.
    said: Callable[[bytes], Said] = said_by

    @property
    def seals(self) -> Seals:
        """What the control plane seals its rows with."""
        return Seals.load(self.settings.seal_key)

    def opened(self) -> Reader:
        """Open everything. Close it after use."""
        return Reader(self)


class Reader:
    """Reads and checks batches."""

    def __init__(self, means: Means) -> None:
        self._stack = ExitStack()
        self.signers: Signers | None = None
        if means.verifier is not None:
            self.signers = Signers(means.settings.domain, means.issuers, means.verifier())
        store = Store(means.settings.database_url)
        self._stack.callback(store.close)
        tables = self._stack.enter_context(reading(store))
        self._checker = Checker(Objects(means.settings.objects_url), tables, self.signers, means.seals)

    def check(self, tasks: list[Task]) -> list[Checked]:
        """Check some batches."""
        return [self._checker.check(task) for task in tasks]

    def close(self) -> None:
        """End the transaction and close the database."""
        self._stack.close()


@contextmanager
def workers(means: Means, jobs: int) -> Iterator[Callable[[Iterator[list[Task]]], Iterator[Checked]]]:
    """What checks batches in `jobs` processes, in their order: this one and, for more than one, others beside it.

    Others take a second or two to start, so they start now, and see the database as it is at their first batch.
    """
    with ExitStack() as stack:
        pool = stack.enter_context(processes.pool(jobs - 1, _open, means)) if jobs > 1 else None
        try:
            for _ in range(jobs - 1):  # each begins a process
                assert pool is not None
                pool.submit(_check, [])
            yield partial(_checked, means, pool, 2 * (jobs - 1))
        except BrokenProcessPool as error:
            raise PlacetError("a process of the check was ended by something else, such as a lack of memory") from error


def _checked(
    means: Means, pool: ProcessPoolExecutor | None, most: int, tasks: Iterator[list[Task]]
) -> Iterator[Checked]:
    """Others have `most` pieces of work at once; what is more, and what comes before they are there, is done here."""
    given: deque[Future[list[Checked]]] = deque()
    try:
        with closing(means.opened()) as reader:
            for some in tasks:
                if pool is not None and sum(not one.done() for one in given) < most:
                    given.append(pool.submit(_check, some))
                else:
                    given.append(_done(reader.check(some)))
                while given and given[0].done():
                    yield from given.popleft().result()
        while given:
            yield from given.popleft().result()
    finally:
        for one in given:
            one.cancel()


def _done(checked: list[Checked]) -> Future[list[Checked]]:
    future: Future[list[Checked]] = Future()
    future.set_result(checked)
    return future


_reader: Reader


def _open(means: Means) -> None:
    global _reader
    _reader = means.opened()


def _check(tasks: list[Task]) -> list[Checked]:
    return _reader.check(tasks)
