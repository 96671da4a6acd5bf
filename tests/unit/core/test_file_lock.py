import subprocess
import sys

import pytest

from app.core.file_lock import AlreadyLocked, file_lock

HOLDER = """
import sys
from pathlib import Path
from app.core.file_lock import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_refuses_when_another_process_holds_it(tmp_path, holder):
    with pytest.raises(AlreadyLocked), file_lock(tmp_path / "lock"):
        pass


def test_is_free_when_its_holder_is_killed(tmp_path, holder):
    holder.kill()
    holder.wait()
    with file_lock(tmp_path / "lock"):
        pass


def test_waits_and_says_so_once(tmp_path, holder):
    said = []

    def waiting():
        said.append("waiting")
        holder.stdin.close()

    with file_lock(tmp_path / "lock", waiting=waiting):
        assert said == ["waiting"]


def test_is_released_after_an_error(tmp_path):
    with pytest.raises(ValueError), file_lock(tmp_path / "lock"):
        raise ValueError
    with file_lock(tmp_path / "lock"):
        pass
