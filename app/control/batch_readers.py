"""Who reads the records of batches: this process, or, of large ones, others beside it.

Most of what a batch takes is work on its bytes, and one process does the work of one core, however many threads it
has. Processes are started with the first large batch, and used once they are there. Whatever becomes of them, a batch
is read: here, then. Each has a pipe of its own, so that its end is seen at once by whoever waits for it, and by nobody
else.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock, Thread

from app.control import batch_reading, processes
from app.control.batch_reading import Reading
from app.core.batch import BatchStatement
from app.core.errors import Denied

log = logging.getLogger("placet.control")

#: Characters of records, compressed and in base64, from which on it is worth handing them over: some 200 records.
_LARGE = 48 * 1024

#: Seconds for one batch, and until another process is started in the place of one that failed.
_PATIENCE, _PAUSE = 60.0, 30.0


class Process:
    """One of the others, which reads one batch at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # not forked: threads and connections are nothing to be copied
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(theirs,), daemon=True)
        try:
            self._process.start()
        finally:
            theirs.close()  # so that it ends for us when the process does

    @property
    def pid(self) -> int | None:
        """Its number."""
        return self._process.pid

    def ask(self, given: object) -> Reading | Denied | None:
        """What it answers. Raises `OSError`, `EOFError` when it ends, or takes too long."""
        if given is not None:
            self._connection.send(given)
        if not self._connection.poll(_PATIENCE):
            raise TimeoutError("no answer in time")
        answer: Reading | Denied | None = self._connection.recv()
        return answer

    def end(self) -> None:
        """End it; it has nothing to finish."""
        self._connection.close()
        self._process.kill()
        self._process.join()


class Readers:
    """Reads batches in `number` processes; 0: here. Thread-safe."""

    def __init__(self, number: int = 0) -> None:
        self._number = number
        self._lock = Lock()
        self._idle: queue.SimpleQueue[Process] = queue.SimpleQueue()
        self._there: set[Process] = set()
        self._starting: Thread | None = None
        self._not_before = 0.0

    def start(self) -> None:
        """Have the processes there: otherwise the first large batches are read here."""
        self._require()
        if (starting := self._starting) is not None:
            starting.join()

    def read(self, system: str, sidecar: str, batch: BatchStatement, records: str, salts: str) -> Reading:
        """As `batch_reading.read`. Raises `Denied`."""
        given = system, sidecar, batch, records, salts
        if len(records) >= _LARGE and (process := self._taken()) is not None:
            try:
                answer = process.ask(given)
            except (OSError, EOFError, ValueError) as error:
                log.warning(
                    "a process that reads batches ended, or did not answer: %s", str(error) or type(error).__name__
                )
                self._drop(process)
            else:
                self._idle.put(process)
                if isinstance(answer, Denied):
                    raise answer
                if answer is not None:
                    return answer
        return batch_reading.read(*given)

    def close(self) -> None:
        """End the processes, for good."""
        with self._lock:
            self._number = 0
            there, self._there = self._there, set()
        for process in there:
            process.end()
        if (starting := self._starting) is not None:
            starting.join()

    def _taken(self) -> Process | None:
        """One that has nothing to do, once one of them has; None where there are none."""
        self._require()
        with suppress(queue.Empty):
            while self._there:
                process = self._idle.get(timeout=_PATIENCE)
                if process in self._there:
                    return process
        return None

    def _require(self) -> None:
        with self._lock:
            busy = self._starting is not None and self._starting.is_alive()
            if busy or len(self._there) >= self._number or time.monotonic() < self._not_before:
                return
            self._not_before = time.monotonic() + _PAUSE
            self._starting = Thread(target=self._start, args=(self._number - len(self._there),), daemon=True)
            try:
                self._starting.start()
            except RuntimeError:  # no thread to spare, or the interpreter ends
                self._starting = None

    def _start(self, number: int) -> None:
        begun: list[Process] = []
        try:
            begun += (Process() for _ in range(number))
            for process in begun:
                process.ask(None)
                with self._lock:
                    if self._number:
                        self._there.add(process)
                        self._idle.put(process)
        except (OSError, EOFError, RuntimeError) as error:
            log.warning("cannot start a process that reads batches: %s", str(error) or type(error).__name__)
        for process in set(begun) - self._there:
            process.end()

    def _drop(self, process: Process) -> None:
        with self._lock:
            self._there.discard(process)
        process.end()


def _work(connection: Connection) -> None:
    """What such a process does, until nobody is there for whom it could."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which ends this one
    processes.settle()
    with suppress(EOFError, OSError):
        connection.send(None)
        while True:
            try:
                answer: Reading | Denied | None = batch_reading.read(*connection.recv())
            except Denied as denied:
                answer = denied
            except (RuntimeError, MemoryError, ValueError):  # such as of recursion: it is read again where that is seen
                answer = None
            connection.send(answer)


def usual() -> int:
    """A process for each core that this one may use, or none where that is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if cores > 1 else 0
