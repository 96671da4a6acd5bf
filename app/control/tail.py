"""Decisions as they arrive, for whoever looks on: asked of the database again and again, by batch.

Transactions may commit in another order than that of their rows' numbers. So batches a little before the newest are
asked for again, and those that were seen are left out.
"""

from __future__ import annotations

from collections import OrderedDict

from sqlmodel import Session, col, func, select

from app.control import search
from app.control.decision_filter import Filter
from app.control.objects import Objects
from app.control.store import Batch, Decision

#: Numbers of batches before the newest that are asked for again.
LOOK_BACK = 200
#: Batches of one look.
_TOGETHER = 50


class Tail:
    """Where one who looks on has got to."""

    def __init__(self, wanted: Filter, begin: int, newest: int | None = None) -> None:
        """`begin`: the number of the batch after which it began; `newest`: the newest that was seen, when it goes on.

        Of what was seen then nothing is known here: some of it comes twice, so that none is left out.
        """
        self._wanted, self.begin = wanted, begin
        #: The newest batch that was seen.
        self.newest = max(begin, newest or 0)
        self._seen: OrderedDict[int, None] = OrderedDict()

    def look(self, session: Session, objects: Objects) -> list[Decision]:
        """What arrived since the last look and fits: oldest batch first, of each its decisions in their order."""
        query = select(Batch.id).where(col(Batch.id) > max(self.begin, self.newest - LOOK_BACK))
        if self._wanted.system:
            query = query.where(Batch.system == self._wanted.system)
        seen = list(self._seen)
        fresh = query.where(col(Batch.id).not_in(seen)) if seen else query
        found: list[Decision] = []
        for number in session.exec(fresh.order_by(col(Batch.id)).limit(_TOGETHER)):
            assert number is not None
            found += search.in_batch(session, objects, self._wanted, number)
            self.newest = max(self.newest, number)
            self._seen[number] = None
        while len(self._seen) > LOOK_BACK + _TOGETHER:
            self._seen.popitem(last=False)
        return found


def newest(session: Session) -> int:
    """The number of the newest batch, 0 when there is none."""
    return session.exec(select(func.max(Batch.id))).one() or 0
