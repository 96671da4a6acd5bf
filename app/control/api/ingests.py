"""How many ingests run at once: few, as each holds many megabytes and a database connection; of one system not all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

_Result = TypeVar("_Result")

#: Threads of all systems together, and of one. What comes beyond that waits its turn, in order.
AT_ONCE = 6
OF_ONE_SYSTEM = 4


@dataclass
class _System:
    """The turns of one system, and how many requests have or await one."""

    limiter: CapacityLimiter
    users: int = 0


class Ingests:
    """Runs ingests in threads. Of one event loop."""

    def __init__(self, at_once: int = AT_ONCE, of_one_system: int = OF_ONE_SYSTEM) -> None:
        self._all = CapacityLimiter(at_once)
        self._of_one_system = of_one_system
        self._systems: dict[str, _System] = {}

    async def run(self, system: str, work: Callable[[], _Result]) -> _Result:
        """The result of `work`, when it was this system's turn."""
        own = self._systems.setdefault(system, _System(CapacityLimiter(self._of_one_system)))
        own.users += 1
        try:
            async with own.limiter:  # first: who waits here keeps no other system waiting
                return await anyio.to_thread.run_sync(work, limiter=self._all)
        finally:
            own.users -= 1
            if not own.users:
                del self._systems[system]


#: Of this process: records, batches and lineage statements alike.
INGESTS = Ingests()
