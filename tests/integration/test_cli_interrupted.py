"""Commands that are stopped at the worst moment, or may not write: nothing half-written stays, and one line says it."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.shipped import shipped

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
#: Runs `placet`, and stops where a file that is written takes its place.
HELD = """
import sys, time
from pathlib import Path
def held(*_):
    print("held", flush=True)
    time.sleep(600)
Path.replace = Path.rename = held
from cli.main import main
main()
"""
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def options(directory):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PLACET_")}
    kept = {name: os.environ[name] for name in ("PLACET_CACHE_DIR",) if name in os.environ}
    return {"cwd": directory, "env": inherited | kept | {"PYTHONPATH": str(ROOT)}, "text": True}


def placet(directory, *words):
    """The command, for somebody whom the system asks for permissions, even where that is root."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, words)],
        **options(directory),
        capture_output=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0),
    )


SIGNING = ["--trust-config", "trust.json", "--identity-token", "token"]


@pytest.fixture(scope="module")
def signed(tmp_path_factory, sigstore):
    directory = tmp_path_factory.mktemp("signed")
    shutil.copytree(shipped("bundles") / "payments", directory / "policy")
    (directory / "trust.json").write_bytes(sigstore.trust_config.read_bytes())
    (directory / "token").write_text(sigstore.token("dev@example.org"))
    (directory / "token").chmod(0o600)
    for words in (["build", "policy", "-o", "old.tar.gz"], ["sign", "old.tar.gz", *SIGNING]):
        done = placet(directory, "bundle", *words)
        assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture
def work(tmp_path, signed, sigstore):
    """A directory with a policy, its signed bundle, and the token of somebody who signs."""
    shutil.copytree(signed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "token").write_text(sigstore.token("dev@example.org"))
    (tmp_path / "token").chmod(0o600)
    return tmp_path


def content(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ["bundle", "build", "policy", "-o", "new.tar.gz"],
        ["bundle", "build", "policy", "-o", "old.tar.gz", "--root", "payments"],
        ["bundle", "build", "policy", "-o", "new/"],
        ["bundle", "build", "policy", "-o", "oci:new"],
        ["bundle", "sign", "old.tar.gz", *SIGNING],
        ["bundle", "attest", "old.tar.gz", "--tests", "policy", *SIGNING],
        ["policy", "new", "mine"],
        ["policy", "test", "policy", "--junit", "report.xml"],
    ],
    ids=" ".join,
)
def test_what_is_interrupted_leaves_what_was_there(work, words):
    before = content(work)
    command = [sys.executable, "-c", HELD, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, **options(work), **pipes) as process:
        assert process.stdout.readline() == "held\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=60)
    lines = [line for line in said.splitlines() if line.startswith("placet: ")]
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("placet: interrupted; ")
    assert len(lines) == 1, said
    assert "Traceback" not in said
    assert content(work) == before


def test_what_goes_on_until_it_is_stopped_ends_without_complaint(tmp_path):
    (tmp_path / "token").write_text("t")
    (tmp_path / "token").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        words = ["decision", "list", "--follow", "--server", url, "--token-file", "token"]
        command = [sys.executable, "-m", "cli", *words]
        with subprocess.Popen(command, **options(tmp_path), stderr=subprocess.PIPE) as process:
            server.accept()[0].recv(1)  # it asked
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "stopped\n")


@pytest.mark.parametrize(
    "words",
    [
        ["bundle", "build", "../policy", "-o", "new.tar.gz"],
        ["bundle", "build", "../policy", "-o", "new/"],
        ["bundle", "build", "../policy", "-o", "oci:new"],
        ["bundle", "sign", "old.tar.gz", "--trust-config", "../trust.json", "--identity-token", "../token"],
        ["bundle", "attest", "old.tar.gz", "--tests", "../policy", "--trust-config", "../trust.json",
         "--identity-token", "../token"],
        ["policy", "new", "mine"],
        ["policy", "test", "../policy", "--junit", "report.xml"],
        ["layout", "new", "payments", "-o", "l.yaml", "--functionary", "a@example.org", "--functionary-issuer",
         "https://accounts.example.org"],
    ],
    ids=lambda words: " ".join(words[:5]),
)  # fmt: skip
def test_a_directory_that_nobody_may_write_to(work, words):
    closed = work / "closed"
    closed.mkdir()
    for file in work.glob("old.*"):
        shutil.copy(file, closed)
    before = content(work)
    closed.chmod(0o555)
    done = placet(closed, *words)
    closed.chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "Permission denied" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("placet: cannot write ")
    assert [line for line in done.stderr.splitlines() if line.startswith("placet: ")] == done.stderr.splitlines()[-1:]
    assert content(work) == before


@pytest.mark.parametrize("there", ["directory", "file", "link"])
def test_a_new_policy_leaves_what_is_there_untouched(tmp_path, there):
    if there == "directory":
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/mine.rego").write_text("package mine\n")
    elif there == "file":
        (tmp_path / "mine").write_text("mine")
    else:
        (tmp_path / "mine").symlink_to("nowhere")
    before = content(tmp_path)
    done = placet(tmp_path, "policy", "new", "mine")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "placet: mine exists, and nothing is overwritten; choose another name, or another --dir\n"
    assert content(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
