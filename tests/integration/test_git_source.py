"""Policies out of git over https, from git's own server: what is fetched, as whom, and what never happens."""

import fcntl
import json
import os
import pathlib
import pty
import random
import subprocess
import termios

import pytest

from app.core import building, bundle_source, git_command
from app.core.errors import UsageError
from app.core.git_facts import GitFacts
from app.core.opa import Opa

from .control_kit import PLACET
from .git_kit import PASSWORD, USER, GitServer, Repository, read, refused
from .person_kit import Person

pytestmark = pytest.mark.stack

POLICY = b"package app\n\ndefault allow := false\n"
MANIFEST = b'{"roots": ["app", "lib"], "metadata": {"placet": {"entrypoint": "app/allow"}}}'


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    server = GitServer(tmp_path / "served")
    yield server
    server.close()


@pytest.fixture
def person(server, tmp_path):
    """Somebody who trusts the server, and who would be asked for a password if anybody were."""
    person = Person(tmp_path / "home")
    asking = person.home / "ask"
    asking.write_text(f"#!/bin/sh\ntouch {person.home}/asked\necho {PASSWORD}\n")
    asking.chmod(0o755)
    (person.home / ".gitconfig").write_text(f"[core]\n\taskPass = {asking}\n")
    asks = dict.fromkeys(("GIT_ASKPASS", "SSH_ASKPASS"), str(asking))
    person.variables = {"GIT_SSL_CAINFO": str(server.certificate), "DISPLAY": ":0", **asks}
    yield person
    assert not (person.home / "asked").exists()


@pytest.fixture
def public(server):
    repository = Repository(server, "team/policy")
    repository.first = repository.commit(**{"policy/.manifest": MANIFEST, "policy/app.rego": POLICY})
    repository.git("tag", "-a", "v1.0", "-m", "one")
    repository.second = repository.commit(**{"policy/app.rego": POLICY + b"\nallow if input.x\n"})
    return repository


# ---- what is fetched -----------------------------------------------------------------------------------------------


def test_a_build_by_commit_tag_and_branch(person, public, opa_binary):
    built = {}
    for name, commit in ((public.first, public.first), ("v1.0", public.first), ("main", public.second)):
        person.placet("bundle", "build", f"git+{public.url}@{name}#policy", "-o", "x.tar.gz", "--opa", opa_binary)
        built[name] = (person.home / "x.tar.gz").read_bytes()
        notes = json.loads((person.home / "x.tar.gz.build.json").read_bytes())
        assert notes["git"] == {"commit": commit, "dirty": False, "remote": public.url}
        assert notes["inputs"] == [{"uri": f"git+{public.url}@{commit}", "digest": {"gitCommit": commit}}]
    assert built[public.first] == built["v1.0"] != built["main"]


def test_the_placet_yaml_of_the_commit_counts(person, server, opa_binary):
    repository = Repository(server, "team/dice")
    rego = b"package dice\n\nroll := rand.intn(`x`, 6)\n"
    settings = b"roots: [dice]\nentrypoint: dice/roll\nallowed_builtins: [rand.intn]\n"
    commit = repository.commit(**{"policy/placet.yaml": settings, "policy/dice.rego": rego})
    source, out = f"git+{repository.url}@{commit}#policy", "dice.tar.gz"
    said = person.placet("bundle", "build", source, "-o", out, "--opa", opa_binary, "--output", "json")
    assert "placet.yaml allows rand.intn" in said.stderr
    shown = json.loads(person.placet("bundle", "inspect", out, "--opa", opa_binary, "--output", "json").stdout)
    assert shown["manifest"]["roots"] == ["dice"]
    assert shown["manifest"]["metadata"]["placet"]["entrypoint"] == "dice/roll"
    assert [one["reason"] for one in shown["faults"]] != []
    allowed = ("--allow-builtin", "rand.intn", "--opa", opa_binary, "--output", "json")
    assert json.loads(person.placet("bundle", "inspect", out, *allowed).stdout)["faults"] == []

    commit = repository.commit(**{"policy/placet.yaml": b"entrypoints: [dice]\n"})
    with person.here():
        wrong = bundle_source.read(f"git+{repository.url}@{commit}#policy")
    with pytest.raises(UsageError, match=rf"^git\+{repository.url}@{commit}: placet.yaml:1:1: "):
        building.build([wrong], Opa(opa_binary))


def test_what_came_before_is_not_fetched(person, server, public):
    public.commit(large=random.Random(1).randbytes(5_000_000))
    (public.path / "large").unlink()
    latest = public.commit(**{"README.md": b"small again\n"})
    before = server.sent
    assert read(person, f"git+{public.url}@{latest}#policy").git == GitFacts(latest, public.url, False)
    assert server.sent - before < 100_000


def test_submodules_come_along_and_stand_in_the_provenance(person, server, public, opa_binary):
    library = Repository(server, "private/library")
    pinned = library.commit(**{"lib/util.rego": b"package lib.util\n\nyes := true\n"})
    later = library.commit(**{"lib/util.rego": b"package lib.util\n\nyes := false\n"})
    assert later != pinned
    commit = public.add_submodule("policy/shared", "../../private/library", pinned)
    source = f"git+{public.url}@{commit}"
    said = refused(person, source)
    assert f"git could not fetch the submodule policy/shared at {pinned} from {library.url}" in said

    remember(person, server)
    person.placet("bundle", "build", f"{source}#policy", "-o", "x.tar.gz", "--opa", opa_binary)
    raw, notes = ((person.home / name).read_bytes() for name in ("x.tar.gz", "x.tar.gz.build.json"))
    assert b"yes := true" in read(person, source).files["policy/shared/lib/util.rego"]
    provenance = json.loads(building.release_statements(raw, notes, "x.tar.gz").provenance)
    materials = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"uri": source, "digest": {"gitCommit": commit}} in materials
    submodule = {"name": "policy/shared", "uri": f"git+{library.url}@{pinned}", "digest": {"gitCommit": pinned}}
    assert submodule in materials


def test_a_commit_that_is_too_large(person, public, monkeypatch):
    commit = public.commit(large=random.Random(2).randbytes(3 << 20))
    monkeypatch.setattr(git_command, "LIMIT", 1 << 20)
    said = refused(person, f"git+{public.url}@{commit}#policy")
    assert said.endswith("it is larger than 1 MiB; build from a directory of a checkout instead")


def test_a_commit_with_more_names_than_anybody_could_list(person, public, monkeypatch):
    """Ten directories in each of ten directories, and so on: a few objects, and ten billion files."""
    objects = public.git("rev-parse", "HEAD:policy/app.rego")
    kind = "100644 blob"
    for _ in range(10):
        entries = "".join(f"{kind} {objects}\t{number}\n" for number in range(10))
        objects, kind = public.git("mktree", stdin=entries), "040000 tree"
    commit = public.git("commit-tree", "-m", "a bomb", objects)
    public.git("branch", "bomb", commit)
    monkeypatch.setattr(git_command, "LIMIT", 1 << 20)
    assert f"git could not list {commit}: it is larger than 1 MiB" in refused(person, f"git+{public.url}@bomb")


def test_a_server_that_never_ends(person, server, public, monkeypatch):
    monkeypatch.setattr(git_command, "TIMEOUT", 2)
    server.stalled.set()
    assert f"git took more than 2 s to fetch main from {public.url}" in refused(person, f"git+{public.url}@main")
    commands = [path.read_bytes() for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if readable(path)]
    assert not [command for command in commands if server.host.encode() in command]


def readable(path):
    """Whether the process is still there."""
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


# ---- as whom -------------------------------------------------------------------------------------------------------


def remember(person, server, password=PASSWORD):
    """Keep a login where git's own helper finds it."""
    (person.home / "logins").write_text(f"https://{USER}:{password.replace(' ', '%20')}@{server.host}\n")
    (person.home / ".gitconfig").write_text(f"[credential]\n\thelper = store --file={person.home}/logins\n")


@pytest.fixture
def private(server):
    repository = Repository(server, "private/policy")
    repository.commit(**{"app.rego": POLICY})
    return repository


def test_a_login_comes_from_gits_helpers(person, server, private):
    said = refused(person, f"git+{private.url}@main")
    assert said.startswith(f"git could not fetch main from {private.url}: fatal: could not read Username")
    assert said.endswith("store a login with git's credential helper (`git credential approve`); it is never asked for")
    remember(person, server)
    assert read(person, f"git+{private.url}@main").files == {"app.rego": POLICY}
    remember(person, server, "wrong")
    assert "Authentication failed" in refused(person, f"git+{private.url}@main")


def test_a_password_in_the_address_is_shown_nowhere(person, private, server):
    address = f"git+https://{USER}:{PASSWORD.replace(' ', '%20')}@{server.host}/private/policy"
    source = read(person, f"{address}@main")
    assert "correct" not in repr(source)
    assert source.git.remote == private.url
    assert "correct" not in refused(person, f"{address}@none")


def test_nobody_is_asked_at_a_terminal(person, private, opa_binary):
    """With a terminal at hand: it hears one line and asks for none."""
    mine, theirs = pty.openpty()
    placet = subprocess.Popen(
        [PLACET, "bundle", "build", f"git+{private.url}@main", "-o", "x.tar.gz", "--opa", opa_binary],
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True, cwd=person.home, env=person.environment,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    try:
        _, said = placet.communicate(timeout=120)
        with pytest.raises(OSError, match="Input/output error"):  # it ended, and nothing was written there
            os.read(mine, 1000)
    finally:
        os.close(mine)
    assert placet.returncode == 1
    assert said.splitlines()[-1].startswith("placet: git could not fetch main")


# ---- on the way ----------------------------------------------------------------------------------------------------


def test_a_server_that_nobody_vouches_for(person, public):
    del person.variables["GIT_SSL_CAINFO"]
    said = refused(person, f"git+{public.url}@main")
    assert "certificate" in said
    assert said.endswith("trust the server's authority by GIT_SSL_CAINFO or git's http.sslCAInfo")


def test_a_server_that_leads_away_from_tls(person, server, public):
    server.redirect = "http://127.0.0.1:1"
    assert "git could not fetch main" in (said := refused(person, f"git+{public.url}@main"))
    assert "http" in said
    assert "Failed to connect" not in said  # it is not even tried
