"""Space that is really there: on a small file system of its own, which is really full."""

import os
import subprocess
from pathlib import Path

import pytest

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar import allocation, reserve
from app.sidecar.reserve import Reserve
from app.sidecar.shipper import Shipper

from .test_shipper import Plane

MIB = 1024 * 1024
SIZE = 8 * MIB


@pytest.fixture
def disk(tmp_path):
    """A tmpfs of 8 MiB: mounted by root, else by a process in a user namespace of its own and reached through that."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "placet-test", str(where)]
    if subprocess.run(mount, check=False, timeout=30, capture_output=True).returncode == 0:
        try:
            yield where
        finally:
            subprocess.run(["umount", "-l", where], check=True, timeout=30)
        return
    script = '"$@" && echo mounted && exec sleep 300'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *mount]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout.readline() == b"mounted\n", "these tests need a small file system: root, or unshare(1)"
            yield Path(f"/proc/{holder.pid}/root") / where.relative_to("/")
        finally:
            holder.kill()


def free_bytes(disk):
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as file:
        while left := free_bytes(disk):
            file.write(bytes(left))


def log(disk, content=b"", number=1):
    path = disk / f"{number:08d}.log"
    path.write_bytes(content)
    return path


def append(path, count):
    with path.open("ab") as file:
        file.write(b"x" * count)


def append_lines_until_full(path):
    with path.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4000 + b"\n")


def refusal(kept):
    with pytest.raises(Denied) as denied:
        kept.keep()
    assert denied.value.reason == Reason.RECORD_RESERVE
    return denied.value.detail


# ---- allocation --------------------------------------------------------------------------------------------


def test_blocks_ahead_of_the_end_leave_the_size(disk):
    path = log(disk, b"abc")
    with path.open("r+b") as file:
        allocation.reserve(file.fileno(), 3, 2 * MIB)
    assert path.read_bytes() == b"abc"
    assert path.stat().st_blocks * 512 >= 2 * MIB
    assert free_bytes(disk) <= SIZE - 2 * MIB


def test_there_is_no_space(disk):
    path = log(disk)
    with path.open("r+b") as file, pytest.raises(allocation.NoSpace):
        allocation.reserve(file.fileno(), 0, 2 * SIZE)
    assert path.stat().st_size == 0


def test_nothing_to_do(disk):
    with log(disk).open("r+b") as file:
        allocation.reserve(file.fileno(), 0, 0)
        allocation.reserve(file.fileno(), 0, -5)
        allocation.free(file.fileno(), 0, 0)


def test_blocks_in_front_are_given_back(disk):
    path = log(disk, b"x" * 4 * MIB)
    before = free_bytes(disk)
    with path.open("r+b") as file:
        allocation.free(file.fileno(), 0, 3 * MIB)
    assert free_bytes(disk) == before + 3 * MIB
    assert path.stat().st_size == 4 * MIB
    assert path.read_bytes()[3 * MIB :] == b"x" * MIB


def test_a_file_system_that_cannot(tmp_path):
    descriptor = os.open("/proc/self/oom_score_adj", os.O_RDWR)
    try:
        with pytest.raises(allocation.PlacetError):
            allocation.reserve(descriptor, 0, 4096)
    finally:
        os.close(descriptor)


# ---- the reserve -------------------------------------------------------------------------------------------


def test_records_that_fit_the_reserve_are_never_lost(disk):
    """What the reserve is for: the disk fills up beside it, and the records still find their space."""
    path = log(disk)
    kept = Reserve(path, 2 * MIB, SIZE)
    kept.keep()
    fill(disk)
    assert free_bytes(disk) == 0
    append(path, 2 * MIB)  # raises when there is no space
    with pytest.raises(OSError, match="No space left"):
        append(path, 64 * 1024)


def test_the_reserve_goes_ahead_of_the_end(disk):
    path = log(disk)
    kept = Reserve(path, MIB, SIZE)
    for _ in range(4):
        kept.keep()
        append(path, MIB)
    kept.keep()
    assert path.stat().st_blocks * 512 >= 5 * MIB


def test_a_reserve_that_is_not_whole_is_a_doubt(disk):
    path = log(disk)
    kept = Reserve(path, 2 * MIB, SIZE)
    kept.keep()
    fill(disk)
    append(path, 4096)
    assert "No space left on device" in refusal(kept)
    assert not kept.nearly_spent()
    append(path, MIB + 4096)
    refusal(kept)
    assert kept.nearly_spent()
    (disk / "filler").unlink()
    kept.keep()
    assert not kept.nearly_spent()


def test_the_limit_counts_all_record_files_and_the_reserve(disk):
    log(disk, b"x" * 2 * MIB, number=1)
    path = log(disk, number=2)
    Reserve(path, 2 * MIB, 4 * MIB).keep()
    append(path, MIB)
    again = Reserve(path, 2 * MIB, 4 * MIB)
    assert "more than" in refusal(again)
    (disk / "00000001.log").unlink()
    again.keep()


def test_what_was_acknowledged_gives_its_space_back(disk):
    path = log(disk, b"x" * 3 * MIB + b"tail")
    kept = Reserve(path, MIB, SIZE)
    kept.keep()
    before = free_bytes(disk)
    reserve.free(path, 3 * MIB - 1)  # whole steps only
    assert free_bytes(disk) == before + 2 * MIB
    reserve.free(path, 3 * MIB + 4)
    reserve.free(path, 3 * MIB + 4)
    assert free_bytes(disk) == before + 3 * MIB
    assert path.read_bytes()[-4:] == b"tail"
    append(path, MIB)  # the space ahead is still there
    kept.keep()


def test_a_dead_file_gives_its_reserve_back_and_keeps_its_records(disk):
    path = log(disk, b"records\n")
    kept = Reserve(path, 4 * MIB, SIZE)
    kept.keep()
    assert free_bytes(disk) <= SIZE - 4 * MIB
    kept.release()
    kept.release()
    assert free_bytes(disk) >= SIZE - MIB
    assert path.read_bytes() == b"records\n"


def test_a_file_that_was_deleted_meanwhile(disk):
    path = log(disk)
    kept = Reserve(path, MIB, SIZE)
    kept.keep()
    path.unlink()
    kept.release()


def test_a_disk_that_was_full_is_freed_by_shipping(disk):
    """OPA is ended, its reserve given back, and that is space enough to ship everything, the torn line as well."""
    path = log(disk, b'{"n":1}\n')
    kept = Reserve(path, 2 * MIB, SIZE)
    kept.keep()
    fill(disk)
    with pytest.raises(OSError, match="No space left"):
        append_lines_until_full(path)
    refusal(kept)
    assert kept.nearly_spent()
    written = path.read_bytes()
    log(disk, number=2)
    plane = Plane()
    shipper = Shipper(disk, plane, reserve.free)
    (disk / "filler").unlink()
    while shipper.ship():
        pass
    assert plane.kept["00000001.log"].removesuffix(b"\n") == written.removesuffix(b"\n")
    assert not path.exists()
