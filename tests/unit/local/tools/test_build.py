import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.core.errors import PlacetError, UsageError
from app.core.file_lock import file_lock
from app.local.tools import build, install, installed

INSTALL = """
from app.local.tools import install
class Lines:
    def note(self, text): print(text, flush=True)
    def building(self, tool, packages, seconds): pass
install(["opa"], Lines())
"""


class Log:
    def __init__(self):
        self.notes, self.ticks = [], []

    def note(self, text):
        self.notes.append(text)

    def building(self, tool, packages, seconds):
        self.ticks.append((tool.name, packages))


def in_another_process():
    return subprocess.Popen([sys.executable, "-c", INSTALL], stdout=subprocess.PIPE, text=True)


def leftovers(cache):
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_builds_once(cache, fake_go, opa):
    fake_go()
    log = Log()
    assert install(["opa", "opa"], log) == {"opa": installed("opa")}
    assert installed("opa").read_text() == "built"
    assert log.notes[0].startswith(f"building opa {opa.version} with Go 1.99.1")
    again = Log()
    assert install(["opa"], again) == {"opa": installed("opa")}
    assert again.notes == []


def test_a_newer_go_rebuilds_and_an_older_does_not(cache, fake_go):
    fake_go(version="go1.98.0")
    first = install(["opa"])["opa"]
    fake_go(version="go1.99.0")
    second = install(["opa"])["opa"]
    assert second != first
    assert first.exists()  # it may be running
    fake_go(version="go1.97.0")
    assert install(["opa"])["opa"] == second


def test_shows_progress(cache, fake_go, monkeypatch):
    monkeypatch.setattr(build, "_TICK", 0.02)
    fake_go('echo fmt; echo net/http; sleep 0.3; printf built > "$OUT"; chmod +x "$OUT"')
    log = Log()
    install(["opa"], log)
    assert log.ticks[-1] == ("opa", 2)


def test_a_failure_shows_the_end_of_what_go_said(cache, fake_go):
    fake_go('echo net/http; echo "go: downloading x.org/y v1.0.0"; echo "x.go:1:2: undefined: y"; exit 1')
    with pytest.raises(PlacetError, match=r"^opa does not build: x\.go:1:2: undefined: y$"):
        install(["opa"])
    assert leftovers(cache) == ["lock"]


def test_an_interrupt_stops_go_and_leaves_nothing(cache, fake_go, tmp_path):
    pid_file = tmp_path / "pid"
    fake_go(f'echo half > "$OUT"; echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 600')
    with in_another_process() as installing:
        while not pid_file.exists():
            assert installing.poll() is None
            time.sleep(0.01)
        installing.send_signal(signal.SIGINT)
        assert installing.wait(timeout=10) != 0
    assert leftovers(cache) == ["lock"]
    assert not Path("/proc", pid_file.read_text().strip()).exists()


def test_a_kill_leaves_nothing_that_counts_and_the_next_run_cleans_up(cache, fake_go, tmp_path):
    mark = tmp_path / "mark"
    fake_go(f'echo half > "$OUT"; touch {mark}; sleep 600')
    with in_another_process() as installing:
        while not mark.exists():
            assert installing.poll() is None
            time.sleep(0.01)
        installing.kill()
    with pytest.raises(PlacetError, match="not built"):
        installed("opa")
    fake_go()
    install(["opa"])
    assert leftovers(cache) == ["lock", "opa", "opa.json"]


def test_two_at_once_build_once(cache, fake_go, tmp_path):
    count, proceed = tmp_path / "count", tmp_path / "proceed"
    fake_go(f'echo x >> {count}; while [ ! -e {proceed} ]; do sleep 0.02; done; printf built > "$OUT"; chmod +x "$OUT"')
    with in_another_process() as first:
        while not count.exists():
            assert first.poll() is None
            time.sleep(0.01)
        with in_another_process() as second:
            assert second.stdout.readline() == "waiting for another placet tools install to finish\n"
            proceed.touch()
            assert second.communicate(timeout=30)[0] == ""
        assert first.communicate(timeout=30)[0].startswith("building opa")
        assert (first.returncode, second.returncode) == (0, 0)
    assert count.read_text() == "x\n"


def test_what_is_there_waits_for_nobody(cache, fake_go):
    fake_go()
    install(["opa"])
    with file_lock(cache / "tools" / "lock"):
        assert install(["opa"]) == {"opa": installed("opa")}


def test_a_build_that_never_ends_is_stopped(cache, fake_go, monkeypatch):
    monkeypatch.setattr(build, "BUILD_TIMEOUT", 0.2)
    monkeypatch.setattr(build, "_TICK", 0.05)
    fake_go("sleep 600")
    with pytest.raises(PlacetError, match="not built within"):
        install(["opa"])
    assert leftovers(cache) == ["lock"]


def test_an_unknown_tool_is_refused_before_anything_is_built(cache, fake_go):
    fake_go()
    with pytest.raises(UsageError, match="no tool 'cosine'"):
        install(["opa", "cosine"])
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PLACET_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(PlacetError, match="PLACET_CACHE_DIR names another"):
        install(["opa"])
