import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.errors import PlacetError, UsageError
from app.core.files import read_bounded, read_secret, replacing, write_atomically


def names(directory):
    return [path.name for path in directory.iterdir()]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("wanted", [0o600, 0o644])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_exact_whatever_the_umask(tmp_path, wanted, umask):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "x", b"1", mode=wanted)
    finally:
        os.umask(before)
    assert mode(tmp_path / "x") == wanted


def test_a_secret_is_never_readable_by_others(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(mode(path) for path in tmp_path.iterdir()))
    write_atomically(tmp_path / "key", b"secret", mode=0o600)
    assert set(seen) == {0o600}


def test_the_old_file_is_replaced_whole(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write_atomically(path, b"new", mode=0o600)
    assert (path.read_bytes(), mode(path), names(tmp_path)) == (b"new", 0o600, ["x"])


def _whole(path):
    write_atomically(path, b"new")


def _in_parts(path):
    with replacing(path) as file:
        file.write(b"ne")
        file.write(b"w")


@pytest.mark.parametrize("write", [_whole, _in_parts])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_written_into_and_stays(tmp_path, write, linked):
    """Renaming a file over /dev/null would take it from the whole machine; /dev/stdout is a link to a pipe."""
    pipe, path = tmp_path / "pipe", tmp_path / "path"
    os.mkfifo(pipe)
    if linked:
        path.symlink_to(pipe)
    else:
        pipe = pipe.rename(path)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    before = set(names(tmp_path))
    write(path)
    assert os.read(reader, 100) == b"new"
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert set(names(tmp_path)) == before


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(PlacetError, match=r"cannot write .*x: No space left on device"):
        write_atomically(path, b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["x"])


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"new")
    assert names(tmp_path) == []


def test_a_kill_before_the_rename_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    code = (
        "import os, pathlib, signal, sys; from app.core.files import write_atomically; "
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        "write_atomically(pathlib.Path(sys.argv[1]), b'new')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=30, check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


def test_nowhere_to_write(tmp_path):
    with pytest.raises(PlacetError, match="cannot write"):
        write_atomically(tmp_path / "missing" / "x", b"")
    (tmp_path / "directory").mkdir()
    with pytest.raises(PlacetError, match="cannot write"):
        write_atomically(tmp_path / "directory", b"")
    assert names(tmp_path) == ["directory"]


def test_reading_is_bounded(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5, "the thing") == b"12345"
    with pytest.raises(UsageError, match="larger than 4 bytes"):
        read_bounded(path, 4, "the thing")
    with pytest.raises(UsageError, match=r"cannot read the thing .*: No such file"):
        read_bounded(tmp_path / "none", 5, "the thing")
    with pytest.raises(UsageError, match="Is a directory"):
        read_bounded(tmp_path, 5, "the thing")
    with pytest.raises(UsageError):
        read_bounded(type(path)("/dev/zero"), 1000, "the thing")


@pytest.mark.parametrize(
    ("mode", "open_to_others"), [(0o644, True), (0o640, True), (0o666, True), (0o600, False), (0o400, False)]
)
def test_a_secret_that_others_can_read_is_taken_with_a_word(tmp_path, capsys, mode, open_to_others):
    file = tmp_path / "api.token"
    file.write_bytes(b"secret")
    file.chmod(mode)
    for _ in range(2):
        assert read_secret(file, 10, "the token file") == b"secret"
    said = f"warning: others can read the token file {file} (mode {mode:04o}); run: chmod 600 {file}\n"
    assert capsys.readouterr().err == (said if open_to_others else ""), "once"


def test_a_secret_from_a_pipe_is_nobody_elses(tmp_path, capsys):
    reading, writing = os.pipe()
    os.write(writing, b"secret")
    os.close(writing)
    assert read_secret(Path(f"/dev/fd/{reading}"), 10, "the token file") == b"secret"
    os.close(reading)
    with pytest.raises(UsageError, match="No such file"):
        read_secret(tmp_path / "none", 10, "the token file")
    assert capsys.readouterr().err == ""
