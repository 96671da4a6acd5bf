"""Batches are checked here, or in several processes: each opens the database and the object store for itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass

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


def checked_by(means: Means, jobs: int, tasks: Iterator[list[Task]]) -> Iterator[Checked]:
    """Check batches in `jobs` processes, in their order. Only few are under way at once, so memory is bounded."""
    if jobs == 1:
        with closing(means.opened()) as reader:
            for some in tasks:
                for task in some:
                    yield from reader.check([task])
        return
    with processes.pool(jobs, _open, means) as pool:
        waiting: deque[Future[list[Checked]]] = deque()
        try:
            for some in tasks:
                waiting.append(pool.submit(_check, some))
                if len(waiting) > 2 * jobs:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            raise PlacetError("a process of the check was ended by something else, such as a lack of memory") from error
        finally:
            for one in waiting:
                one.cancel()


_reader: Reader


def _open(means: Means) -> None:
    global _reader
    _reader = means.opened()


def _check(tasks: list[Task]) -> list[Checked]:
    return _reader.check(tasks)
