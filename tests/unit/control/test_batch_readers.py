"""Large batches are read by other processes, with the same outcome, whatever becomes of those."""

import base64
import contextlib
import gzip
import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.control import batch_readers, batch_reading
from app.control.batch_readers import Readers, usual
from app.core import merkle
from app.core.batch import BatchStatement
from app.core.errors import Denied, TooSlow
from app.core.reason_codes import Reason

from .conftest import record


def batch(number, filler=64):
    """A statement with its records and salts, as they travel."""
    entries = [record(f"d{at}-{secrets.token_hex(filler)}")[:-1] for at in range(number)]
    salts = secrets.token_bytes(merkle.SALT * number)
    statement = BatchStatement.describe(
        sidecar="spiffe://example.org/sidecar/payments/one", instance="i", file="f", first_entry=0, first_byte=0,
        entries=entries, leaves=merkle.leaf_hashes(salts, entries), previous=None, opa="sha256:" + "0" * 64,
        closed_at=datetime(2026, 1, 31, tzinfo=UTC),
    )  # fmt: skip
    body = gzip.compress(b"\n".join(entries) + b"\n", 1)
    return statement, base64.b64encode(body).decode(), base64.b64encode(salts).decode()


LARGE = batch(600)
#: Its leaves, salts, rows and records are longer than a pipe is.
HUGE = batch(1000, 400)


@pytest.fixture
def readers(monkeypatch):
    monkeypatch.setattr(batch_readers, "_PAUSE", 0.0)
    made = Readers(1)
    made.start()
    yield made
    made.close()


def processes(readers):
    return [one.pid for one in readers._there]


class Spy:
    """Notes what a process was asked."""

    def __init__(self, readers):
        [self._process] = readers._there
        self.asked = []
        self._process.ask = self._ask

    def _ask(self, given):
        self.asked.append(given)
        return type(self._process).ask(self._process, given)


def test_while_the_processes_start_a_batch_is_read_here():
    starting = Readers(1)
    assert starting.read("payments", "one", *LARGE) == batch_reading.read("payments", "one", *LARGE)
    starting.start()
    assert processes(starting)
    starting.close()


def test_a_large_batch_is_read_elsewhere_and_a_small_one_here(readers):
    small, spy = batch(3), Spy(readers)
    assert readers.read("payments", "one", *small) == batch_reading.read("payments", "one", *small)
    assert spy.asked == []
    assert readers.read("payments", "one", *LARGE) == batch_reading.read("payments", "one", *LARGE)
    assert spy.asked == [("payments", "one", *LARGE)]
    here = Readers(0)
    here.start()
    assert here.read("payments", "one", *LARGE) == batch_reading.read("payments", "one", *LARGE)
    assert processes(here) == []


def test_many_threads_share_few_processes(readers):
    whole = batch_reading.read("payments", "one", *LARGE)
    with ThreadPoolExecutor(6) as threads:
        read = list(threads.map(lambda _: readers.read("payments", "one", *LARGE), range(24)))
    assert all(one == whole for one in read)
    assert len(processes(readers)) == 1


def test_a_denial_comes_back_whole(readers):
    statement, records, salts = LARGE
    for spoilt, reason in [
        (replace(statement, root="0" * 64), Reason.BATCH_ROOT),
        (replace(statement, allows=statement.allows + 1), Reason.BATCH_ROOT),
        (replace(statement, last_byte=1 << 40), Reason.BATCH_MALFORMED),
    ]:
        with pytest.raises(Denied) as here:
            batch_reading.read("payments", "one", spoilt, records, salts)
        with pytest.raises(Denied) as there:
            readers.read("payments", "one", spoilt, records, salts)
        assert there.value.as_dict() == here.value.as_dict()
        assert there.value.reason is reason
    assert len(processes(readers)) == 1


def test_denials_of_each_kind_are_the_same_after_a_journey():
    for kind in (Denied, TooSlow):
        before = kind(Reason.BATCH_ROOT, "no", step="s", field="f")
        after = pickle.loads(pickle.dumps(before))
        assert (type(after), after.as_dict(), str(after)) == (kind, before.as_dict(), str(before))


def killed_when(readers, seconds):
    """Read a batch whose answer does not fit into a pipe, and kill the process that reads it meanwhile."""
    [pid] = processes(readers)

    def kill():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.start()
    read = readers.read("payments", "one", *HUGE)
    timer.join()
    return read


def test_a_process_that_is_killed_at_any_moment_costs_no_batch_and_keeps_nobody(readers):
    """Also while it sends its answer, which is the moment at which a pool's own queue would wait for ever."""
    begun = time.monotonic()
    whole = batch_reading.read("payments", "one", *HUGE)
    took = time.monotonic() - begun
    for part in range(12):
        assert killed_when(readers, took * part / 8) == whole
        readers.read("payments", "one", *LARGE)  # it may have been killed after it had answered
        readers.start()
    assert readers.read("payments", "one", *LARGE) == batch_reading.read("payments", "one", *LARGE)


def test_a_process_that_was_killed_while_it_writes_is_seen(readers):
    [process] = readers._there
    process._connection.send(("payments", "one", *HUGE))
    while not process._connection.poll(0.01):  # it has begun to write, and cannot end: nobody reads
        pass
    os.kill(process.pid, signal.SIGKILL)
    # It dies when it next looks for signals, and while a reader makes room it does not look: whoever reads at once may
    # get the whole answer, which is as good as any.
    process._process.join()
    with pytest.raises((EOFError, OSError)):
        process._connection.recv()


def test_one_that_does_not_answer_is_ended(readers, monkeypatch, caplog):
    monkeypatch.setattr(batch_readers, "_PATIENCE", 0.5)
    [pid] = processes(readers)
    os.kill(pid, signal.SIGSTOP)
    assert readers.read("payments", "one", *LARGE) == batch_reading.read("payments", "one", *LARGE)
    assert "did not answer" in caplog.text
    assert not Path(f"/proc/{pid}").exists()
    readers.start()
    assert processes(readers) != [pid]


def test_after_closing_there_is_none_and_a_batch_is_read(readers):
    [pid] = processes(readers)
    readers.close()
    readers.close()
    assert not Path(f"/proc/{pid}").exists()
    assert readers.read("payments", "one", *LARGE) == batch_reading.read("payments", "one", *LARGE)
    readers.start()
    assert processes(readers) == []


def test_closing_does_not_wait_for_one_that_is_stopped(readers):
    [pid] = processes(readers)
    os.kill(pid, signal.SIGSTOP)
    readers.close()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    "error", [OSError(11, "Resource temporarily unavailable"), RuntimeError("no thread"), EOFError()]
)
def test_where_no_process_can_be_started_a_batch_is_read_here(monkeypatch, caplog, error):
    ended = []

    class Half:
        def __init__(self):
            if begun:
                raise error
            begun.append(self)

        def ask(self, _):
            raise error

        def end(self):
            ended.append(self)

    begun = []
    monkeypatch.setattr(batch_readers, "Process", Half)
    readers = Readers(2)
    readers.start()
    assert readers.read("payments", "one", *LARGE) == batch_reading.read("payments", "one", *LARGE)
    assert caplog.text.count("cannot start a process") == 1, "and not again at once"
    assert ended == begun
    readers.close()


PARENT = """
import os, sys, time
from app.control.batch_readers import Readers

if __name__ == "__main__":
    readers = Readers(2)
    readers.start()
    print(*[one.pid for one in readers._there], flush=True)
    time.sleep(60)
"""


POOL = """
import os, time
from app.control import processes

if __name__ == "__main__":
    pool = processes.pool(2, int)
    pool.submit(os.getpid).result()
    print(*pool._processes, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("source", [PARENT, POOL], ids=["readers", "pool"])
def test_processes_end_with_one_that_was_killed(tmp_path, source):
    script = tmp_path / "parent.py"
    script.write_text(source)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    pids = parent.stdout.readline().split()
    assert pids
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid.decode()}").exists() for pid in pids):
        assert time.monotonic() < until, "they outlive it"
        time.sleep(0.05)


def test_one_process_for_each_core_of_several():
    assert usual() == (0 if len(os.sched_getaffinity(0)) == 1 else len(os.sched_getaffinity(0)))
