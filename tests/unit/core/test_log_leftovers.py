"""Tiles that a log no longer needs: each bit of them counts where they can be listed."""

import os
import shutil
from datetime import UTC, datetime

import pytest

from app.core import log_monitor
from app.core.log_monitor import Monitor
from app.core.log_monitor_state import MonitorState
from app.core.log_source import DirectorySource, HttpSource
from app.core.reason_codes import Reason

from .log_kit import Authority, MadeLog, flip, some


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def log(tmp_path, authority):
    made = MadeLog(tmp_path / "log", authority)
    for count in (3, 27, 226, 100):  # partial tiles of the same place, one after the other, and what replaced them
        made.publish(*some(count, f"of {count}"))
    return made


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(log_monitor, "SETTLED", 0.0)


def found(log, **how):
    monitor = Monitor(DirectorySource(log.directory), log.authority.trust, now=lambda: datetime.now(UTC))
    report, _ = monitor.look(MonitorState(), **({"full": True} | how))
    assert {one.reason for one in report.findings} <= {Reason.LOG_INVALID, Reason.LOG_MISSING}
    return [one.detail for one in report.findings]


def test_every_bit_of_every_file_counts(log):
    files = [path for path in (log.directory / "tile").rglob("*") if path.is_file()]
    names = {path.relative_to(log.directory).as_posix() for path in files}
    assert {"tile/entries/000.p/3", "tile/entries/000.p/30", "tile/0/000.p/30", "tile/0/001.p/100"} <= names
    assert found(log) == []
    for path in files:
        raw = path.read_bytes()
        for at in {0, 1, 2, len(raw) // 2, len(raw) - 1}:
            flip(path, at)
            [*details] = found(log)
            assert any(path.relative_to(log.directory).as_posix() in one or "root" in one for one in details), path
        path.write_bytes(raw[:-1])
        assert found(log), path
        path.write_bytes(raw)
    assert found(log) == []


def test_what_replaced_tiles_are_named_by_themselves(log):
    flip(log.directory / "tile/entries/000.p/30", 9)
    assert found(log) == ["tile/entries/000.p/30 is not what tile/entries/000 begins with"]
    assert found(log, full=False) == []  # which reads what is new


@pytest.mark.parametrize(
    "name",
    ["tile/0/002", "tile/0/001.p/101", "tile/0/000.p/256", "tile/0/x000/000", "tile/9/000", "tile/entries/000.bak"],
)
def test_files_that_are_no_tiles_are_named(log, name):
    path = log.directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    assert found(log) == [f"{name} is no tile of a log of 356 entries"]


def test_tiles_are_there_before_the_checkpoint_that_has_them(log, monkeypatch):
    before = log.checkpoint().note
    after = log.publish(*some(50, "more"))
    log.show(before)
    assert len(found(log)) == 2
    monkeypatch.setattr(log_monitor, "SETTLED", 5.0)
    monkeypatch.setattr(log_monitor.time, "sleep", lambda _: log.show(after))
    assert found(log) == []


def test_a_prefix_has_no_list():
    with HttpSource("http://127.0.0.1:1") as source:
        assert source.tiles() == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["tile/entries/000.p/30", "tile/0/000.p/30", "tile/junk"])
def test_what_is_large_or_no_file_is_named_and_not_read(log, name):
    path = log.directory / name
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate((1 << 30) + 5)
    [large] = found(log)
    path.unlink()
    os.mkfifo(path)
    [pipe] = found(log)
    assert large == pipe and large.startswith(f"{name} is ")


@pytest.mark.parametrize("name", ["tile/entries/000.p/30", "tile/0/000.p/3", "tile/junk", "tile/entries/001.p"])
@pytest.mark.parametrize("target", ["nowhere", "itself", "up"])
def test_links_that_lead_nowhere_or_back_are_named(log, name, target):
    path = log.directory / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to({"nowhere": "nowhere", "itself": path.name, "up": log.directory / "tile"}[target])
    details = found(log)
    assert any(name in one for one in details), details
    assert len(details) <= 4


def test_links_to_what_is_there_are_followed(log, tmp_path):
    """As of a log whose older tiles were moved to another disk."""
    for name in ("tile/entries", "tile/0/000.p"):
        (log.directory / name).rename(tmp_path / "moved")
        (log.directory / name).symlink_to(tmp_path / "moved")
        assert found(log) == []
        flip(log.directory / "tile/entries/000.p/30", 9)
        assert len(found(log)) == 1
        flip(log.directory / "tile/entries/000.p/30", 9)
        (log.directory / name).unlink()
        (tmp_path / "moved").rename(log.directory / name)
