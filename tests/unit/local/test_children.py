import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.local.children import Children

PARENT = """
import os, subprocess, sys, threading, time
from app.local.children import Children
children = Children()
started = []
# From a thread that ends: the child must survive the thread, and not the process.
thread = threading.Thread(target=lambda: started.append(
    children.start(["sleep", "600"], output=subprocess.DEVNULL, environment=os.environ)))
thread.start()
thread.join()
time.sleep(0.2)
assert started[0].poll() is None
print(started[0].pid, flush=True)
sys.stdin.read()
"""


def gone(pid: int) -> bool:
    """Whether the process ended; a zombie that nobody collects has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_does_not_outlive_its_parent(number):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.send_signal(number)
        parent.wait(timeout=5)
    wait_until_gone(pid)


def test_stop_kills_what_does_not_listen():
    children = Children()
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    child = children.start(["sh", "-c", script], output=subprocess.PIPE, environment=os.environ)
    assert child.stdout.readline() == b"ready\n"
    children.stop(grace=0.2)
    assert child.returncode == -signal.SIGKILL
    child.stdout.close()


def test_stop_twice_is_harmless():
    children = Children()
    children.start(["true"], output=subprocess.DEVNULL, environment=os.environ)
    children.stop()
    children.stop()


def test_what_cannot_be_executed_is_an_error():
    children = Children()
    with pytest.raises(FileNotFoundError):
        children.start(["/nowhere/tool"], output=subprocess.DEVNULL, environment={})
    children.stop()
