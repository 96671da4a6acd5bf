"""The thread that delivers queued batches to their sinks, each at its own pace, again and again until it is taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, or_, select
from tenacity import RetryCallState, Retrying, wait_exponential

from app.control import raw_records, sinks
from app.control.plane import Plane
from app.control.problems import NotFound, Problem
from app.control.rounds import THREADS, Rounds
from app.control.sinks import Delivery, Record, Sink
from app.control.store import Batch, Decision, Forward, ForwardBatch, first_line
from app.control.store.columns import now
from app.core.errors import PlacetError

log = logging.getLogger("placet.control")

#: Seconds between two looks at the queue.
INTERVAL = 1.0
#: Seconds for which a turn of one sink keeps other control planes of this database away from it, and a turn's batches.
_CLAIM, _TURN = 120, 50
#: Sinks that are served at the same time.
_TOGETHER = 4
#: Seconds to wait after the n-th failure in a row.
_BACK_OFF = wait_exponential(multiplier=1, min=1, max=300)


class Forwarding:
    """Started with the control plane and stopped with it."""

    def __init__(self, plane: Plane, interval: float = INTERVAL) -> None:
        self._plane = plane
        self._rounds = Rounds("forwarding", interval, self._begin_due, "look for records to forward")
        self._pool = ThreadPoolExecutor(_TOGETHER, thread_name_prefix=f"{THREADS}forward")
        self._busy: dict[str, Any] = {}
        self._open: dict[tuple[str, str], Sink] = {}

    def start(self) -> None:
        """Begin to deliver in the background."""
        self._rounds.start()

    def stop(self) -> None:
        """End the thread; returns when what is under way has ended."""
        self._rounds.stop()
        self._pool.shutdown()
        for sink in self._open.values():
            sink.close()

    def _begin_due(self) -> None:
        self._busy = {name: turn for name, turn in self._busy.items() if not turn.done()}
        for name, target in self._due():
            if name not in self._busy:
                self._busy[name] = self._pool.submit(self.turn, name, target)

    def _due(self) -> list[tuple[str, str]]:
        """Sinks that have something to take, and whose time has come."""
        with self._plane.store.read() as session:
            queued = select(ForwardBatch.batch).where(col(ForwardBatch.forward) == col(Forward.name)).exists()
            query = select(Forward.name, Forward.target).where(queued, _free())
            found = list(session.exec(query).all())
        for gone in set(self._open) - {(name, target) for name, target in self._all()}:
            self._open.pop(gone).close()
        return found

    def _all(self) -> list[tuple[str, str]]:
        with self._plane.store.read() as session:
            return list(session.exec(select(Forward.name, Forward.target)).all())

    def turn(self, name: str, target: str) -> None:
        """Deliver some of what a sink has not taken. A failure is noted with the sink, and ends the turn."""
        try:
            if not self._claim(name):
                return
            try:
                sink = self._sink(name, target)
                for _ in range(_TURN):
                    if self._rounds.stopping.is_set() or not self._deliver_next(name, sink):
                        break
            except (PlacetError, Problem) as error:
                self._note_failure(name, str(error))
            except SQLAlchemyError:
                raise
            except Exception as error:  # whatever a library raises: the sink is tried again
                log.exception("the sink %s failed", name)
                self._note_failure(name, f"{type(error).__name__}: {error}")
            else:
                self._release(name)
        except SQLAlchemyError as error:
            log.warning("cannot note what the sink %s took: %s", name, first_line(error))

    def _sink(self, name: str, target: str) -> Sink:
        if (name, target) not in self._open:
            self._open[name, target] = sinks.open_sink(name, target)
        return self._open[name, target]

    def _deliver_next(self, name: str, sink: Sink) -> bool:
        with self._plane.store.read() as session:
            query = select(ForwardBatch.batch).where(ForwardBatch.forward == name).order_by(col(ForwardBatch.batch))
            number = session.exec(query.limit(1)).first()
            if number is None:
                return False
            delivery = self._delivery(session, number)
        if delivery.records:
            sink.deliver(delivery)
        with self._plane.store.write() as session:
            session.execute(
                delete(ForwardBatch).where(col(ForwardBatch.forward) == name, col(ForwardBatch.batch) == number)
            )
            taken = {"delivered": Forward.delivered + len(delivery.records), "delivered_at": now()}
            self._set(session, name, {**taken, "failures": 0, "problem": None, "next_try": _later(_CLAIM)})
        return True

    def _delivery(self, session: Session, number: int) -> Delivery:
        batch = session.get_one(Batch, number)
        rows = session.exec(
            select(Decision).where(Decision.batch == number, col(Decision.erased).is_(None)).order_by(
                col(Decision.position)
            )
        ).all()  # fmt: skip
        records: list[Record] = []
        if rows:
            try:
                entries = raw_records.entries(self._plane.objects, batch)
                at = raw_records.numbers(self._plane.objects, batch, [row.position for row in rows])
            except NotFound as error:  # erased at this moment: the next turn reads what is left
                raise PlacetError(f"the records of batch {number} are not there") from error
            for row in rows:
                raw = entries[at[row.position]]
                if raw is not None:
                    records.append(Record(row.decision_id, row.time_ns, row.outcome, raw))
        return Delivery(batch.system, batch.sidecar, batch.instance, batch.file, batch.first, records)

    def _claim(self, name: str) -> bool:
        with self._plane.store.write() as session:
            claimed = session.execute(
                update(Forward).where(col(Forward.name) == name, _free()).values(next_try=_later(_CLAIM))
            )
            return bool(getattr(claimed, "rowcount", 0))

    def _release(self, name: str) -> None:
        with self._plane.store.write() as session:
            self._set(session, name, {"next_try": None})

    def _note_failure(self, name: str, problem: str) -> None:
        with self._plane.store.write() as session:
            # Locked before it is counted on from: another control plane may note a failure at the same moment.
            found = session.get(Forward, name, with_for_update=True)
            if found is None:
                return
            failures = found.failures + 1
            line = (problem.strip() or "failed").splitlines()[0][:300]
            self._set(session, name, {"failures": failures, "problem": line, "next_try": _later(_pause(failures))})
        log.warning("the sink %s did not take a batch: %s", name, line)

    def _set(self, session: Session, name: str, values: Mapping[str, Any]) -> None:
        session.execute(update(Forward).where(col(Forward.name) == name).values(**values))


def _free() -> Any:
    return or_(col(Forward.next_try).is_(None), col(Forward.next_try) <= now())


def _later(seconds: float) -> Any:
    return now() + timedelta(seconds=seconds)


def _pause(failures: int) -> float:
    """The back-off of tenacity; between two turns, as a wait inside of one would keep what others need."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures
    return float(_BACK_OFF(state))
