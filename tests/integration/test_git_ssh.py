"""Policies out of git over ssh, from a real OpenSSH server: whose key, which host, and nobody is ever asked."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.local.ports import free_port

from .git_kit import Repository, read, refused
from .person_kit import Person

pytestmark = pytest.mark.stack

POLICY = b"package app\n\ndefault allow := false\n"
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def keygen(path, passphrase=""):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True, timeout=60)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """It lets in one key, and notes whether a caller lends his agent."""
    assert SSHD, "install an OpenSSH server (Debian: apt-get install openssh-server)"
    directory = tmp_path_factory.mktemp("sshd")
    if os.geteuid() == 0:  # where the server keeps its unprivileged part, as its package's start does
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    host, key, lent = keygen(directory / "host"), keygen(directory / "key"), directory / "lent"
    shell = directory / "shell"
    shell.write_text(f'#!/bin/sh\necho "${{SSH_AUTH_SOCK:-none}}" >> {lent}\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n')
    shell.chmod(0o755)
    public = key.with_suffix(".pub").read_text()
    (directory / "authorized").write_text(f'command="{shell}" {public}')
    port = free_port()
    (directory / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {host}\nAuthorizedKeysFile {directory}/authorized\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\n"
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", directory / "config"], stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            break
        except OSError:
            time.sleep(0.05)
    yield SimpleNamespace(directory=directory, host=f"127.0.0.1:{port}", key=key, lent=lent,
                          known=f"[127.0.0.1]:{port} {host.with_suffix('.pub').read_text()}")  # fmt: skip
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def repository(server):
    made = Repository(server, "policy")
    made.commit(**{"app.rego": POLICY})
    made.source = f"git+ssh://{getpass.getuser()}@{server.host}{made.path}@main"
    return made


@pytest.fixture
def person(server, tmp_path):
    """Somebody who knows the host and has no key. ssh takes his home from the system's table, not from HOME."""
    person = Person(tmp_path / "home")
    asking = person.home / "ask"
    asking.write_text(f"#!/bin/sh\ntouch {person.home}/asked\necho yes\n")
    asking.chmod(0o755)
    (person.home / "known_hosts").write_text(server.known)
    person.variables = {
        "GIT_SSH_COMMAND": f"ssh -F {person.home}/config", "DISPLAY": ":0", "SSH_ASKPASS": str(asking),
        "SSH_ASKPASS_REQUIRE": "force",
    }  # fmt: skip

    def configure(*lines):
        always = (f"UserKnownHostsFile {person.home}/known_hosts", "GlobalKnownHostsFile none", "IdentitiesOnly no")
        (person.home / "config").write_text("\n".join([*lines, "Host *", *always]) + "\n")

    person.configure = configure
    configure("IdentityFile none")
    yield person
    assert not (person.home / "asked").exists()


@pytest.fixture
def agent(person, server):
    """His ssh-agent, with the key."""
    started = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True, timeout=60).stdout
    told = dict(re.findall(r"(SSH_\w+)=([^;]+);", started))
    person.variables["SSH_AUTH_SOCK"] = told["SSH_AUTH_SOCK"]
    subprocess.run(["ssh-add", "-q", server.key], env={**os.environ, **told}, check=True, timeout=60)
    yield
    os.kill(int(told["SSH_AGENT_PID"]), 15)


def test_a_key_in_a_file(person, server, repository):
    person.configure(f"IdentityFile {server.key}")
    source = read(person, repository.source)
    assert source.files == {"app.rego": POLICY}
    assert source.git.remote == f"ssh://{server.host}{repository.path}"


def test_a_key_in_the_agent_which_is_not_lent_to_the_server(person, server, repository, agent):
    server.lent.unlink(missing_ok=True)
    assert read(person, repository.source).files == {"app.rego": POLICY}
    assert set(server.lent.read_text().split()) == {"none"}
    del person.variables["SSH_AUTH_SOCK"]
    assert "Permission denied" in refused(person, repository.source)


def test_nobody_is_asked_for_a_passphrase(person, server, repository, tmp_path):
    locked = keygen(tmp_path / "locked", passphrase="correct horse")
    person.configure(f"IdentityFile {locked}")
    said = refused(person, repository.source)
    assert "Permission denied" in said
    assert said.endswith("load the key into ssh-agent, and the host's key into known_hosts; nothing is asked for")


@pytest.mark.parametrize("known", ["", "another"])
def test_a_host_that_is_not_known_is_not_talked_to(person, server, repository, tmp_path, known):
    """With an agent that would let us in, and with a program at hand that says yes to everything."""
    person.configure(f"IdentityFile {server.key}")
    other = keygen(tmp_path / "other").with_suffix(".pub").read_text()
    (person.home / "known_hosts").write_text(f"[127.0.0.1]:{server.host.split(':')[1]} {other}" if known else "")
    before = (person.home / "known_hosts").read_text()
    said = refused(person, repository.source)
    assert "Host key verification failed" in said
    assert said.endswith("nothing is asked for")
    assert (person.home / "known_hosts").read_text() == before


def test_a_submodule_of_a_relative_address_comes_by_ssh_too(person, server, repository):
    person.configure(f"IdentityFile {server.key}")
    library = Repository(server, "library")
    pinned = library.commit(**{"util.rego": b"package util\n\nyes := true\n"})
    commit = repository.add_submodule("shared", "../library", pinned)
    source = read(person, repository.source.replace("@main", f"@{commit}"))
    assert source.files["shared/util.rego"] == b"package util\n\nyes := true\n"
    assert source.submodules[0]["digest"] == {"gitCommit": pinned}
