"""Projects as people have them for OPA: built without rewriting, with the same test results, reproducibly; and the page
docs/moving-from-opa.md, run as it stands there.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.core import archive, building, bundle_source
from app.core.bundle import parse_bundle
from app.core.bundle_manifest import Choices
from app.core.opa import Opa
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification import check_policy
from cli.main import main

from .release_kit import provenance

pytestmark = pytest.mark.stack

PROJECTS = Path(__file__).parents[1] / "projects"
PAGE = Path(__file__).parents[2] / "docs" / "moving-from-opa.md"

#: Each project: its directories, and the entrypoint where nothing in it says which it is.
WAYS = {
    "orders": (["orders"], None),
    "admission": (["admission"], None),
    "infrastructure": (["infrastructure/policy", "infrastructure/shared"], "terraform/allow"),
}


@pytest.fixture(scope="module")
def opa(opa_binary):
    return Opa(opa_binary)


def built(opa, directories, entrypoint, top=PROJECTS):
    sources = [bundle_source.read(str(top / one), git=False) for one in directories]
    return building.build(sources, opa, choices=Choices(entrypoint=entrypoint))


def results(opa, *paths):
    answer = opa.run(["test", "--format", "json", *map(str, paths)], accept_failure=True)
    found = json.loads(answer.stdout)
    return sorted((one["package"], one["name"], one.get("fail", False), "error" in one) for one in found)


@pytest.mark.parametrize("project", WAYS)
def test_a_project_builds_and_gives_the_same_test_results(opa, project, tmp_path):
    directories, entrypoint = WAYS[project]
    made = built(opa, directories, entrypoint)
    parsed = parse_bundle(made.bundle)
    check_policy(parsed, opa)
    for path, content in archive.read_archive(made.bundle).items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (tmp_path / ".manifest").unlink()
    for number, one in enumerate(directories):
        for test in (PROJECTS / one).rglob("*_test.rego"):
            shutil.copy(test, tmp_path / f"{number}-{test.parent.name}-{test.name}")
    before = results(opa, *(PROJECTS / one for one in directories))
    assert len(before) >= 4
    assert not any(failed or broken for _, _, failed, broken in before)
    assert results(opa, tmp_path) == before


@pytest.mark.parametrize("project", WAYS)
def test_the_same_project_elsewhere_gives_the_same_bytes(opa, project, tmp_path):
    directories, entrypoint = WAYS[project]
    first = built(opa, directories, entrypoint)
    again = built(opa, directories, entrypoint)
    # Elsewhere: other times and modes, and files made in another order.
    for path in sorted((path for path in PROJECTS.rglob("*") if path.is_file()), reverse=True):
        target = tmp_path / path.relative_to(PROJECTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        target.chmod(0o700)
        os.utime(target, (1, time.time() % 1000))
    elsewhere = built(opa, directories, entrypoint, tmp_path)
    assert first.bundle == again.bundle == elsewhere.bundle


def git(directory, *arguments):
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_a_commit_a_clone_and_its_directory_give_the_same_rules(opa, tmp_path):
    shutil.copytree(PROJECTS / "orders", tmp_path / "orders")
    git(tmp_path / "orders", "init", "-q", "-b", "main")
    git(tmp_path / "orders", "add", ".")
    git(tmp_path / "orders", "commit", "-qm", "one")
    git(tmp_path / "orders", "remote", "add", "origin", "https://user:secret@git.example.org/orders.git")
    commit = git(tmp_path / "orders", "rev-parse", "HEAD")
    directory = building.build(tmp_path / "orders", opa)
    fetched = building.build([bundle_source.read(f"git+file://{tmp_path}/orders@{commit}")], opa)
    bundles = [archive.read_archive(one.bundle) for one in (directory, fetched)]
    manifests = [json.loads(files.pop(".manifest")) for files in bundles]
    assert bundles[0] == bundles[1]
    facts = manifests[0]["metadata"]["placet"]["build"]["git"]
    assert facts == {"commit": commit, "remote": "https://git.example.org/orders.git", "dirty": False}
    assert "secret" not in directory.notes.decode() + json.dumps(manifests)
    assert json.loads(fetched.notes)["inputs"][0]["digest"] == {"gitCommit": commit}
    (tmp_path / "orders" / "policy" / "more.rego").write_text("package orders.more\n")
    changed = json.loads(archive.read_archive(building.build(tmp_path / "orders", opa).bundle)[".manifest"])
    assert changed["metadata"]["placet"]["build"]["git"]["dirty"] is True


# ---- the command line --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def placet(tmp_path, monkeypatch, capsys):
    """Runs `placet` in this process: starting one takes longer than most of what is asked here."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["placet", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run


def test_every_fault_is_told_and_nothing_is_written(placet, tmp_path):
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / ".manifest").write_text('{"roots": ["app", "app/x"], "metadata": {"placet": {"entrypoint": "app/no"}}}')
    (policy / "app.rego").write_text("package app\n\nallow if time.clock([1, input.zone])\n")
    (policy / "old.rego.orig").write_text("x")
    done = placet("bundle", "build", "policy", "-o", "x.tar.gz")
    assert done.returncode == 3
    assert "placet: denied: archive.stray: 'old.rego.orig' was left behind" in done.stderr
    for said in ("'app/x' overlaps another root", "no rule defines app/no", "app.rego:3: time.clock"):
        assert said in done.stderr
    assert not list(tmp_path.glob("x.tar.gz*"))
    printed = json.loads(placet("bundle", "build", "policy", "-o", "x.tar.gz", "--output", "json").stdout)
    assert printed["built"] is False
    assert len(printed["others"]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["missing"], 2, "no directory, no bundle and no address"),
        (["git+https://git.example.org/x"], 2, "or the name of a tag or branch"),
        (["oci://host"], 2, "write oci://HOST/NAME:TAG"),
        (["policy", "--oldest-opa", "9.9.9"], 2, "does not know an OPA 9.9.9"),
        (["policy", "--oldest-opa", "0.20.0"], 3, "OPA 0.20.0 "),
        (["policy", "--allow-builtin", "rand.int"], 2, "no such builtin"),
        (["policy", "--root", "app/"], 3, "write 'app'"),
        (["policy", "--root", "other"], 3, "outside the roots"),
        (["policy", "--entrypoint", "app/none"], 3, "no rule defines app/none"),
        (["empty"], 3, "holds no policy"),
    ],
)
def test_wrong_usage_is_one_line(placet, tmp_path, arguments, code, says):
    (tmp_path / "empty").mkdir()
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "app.rego").write_text(
        "package app\n\n# METADATA\n# entrypoint: true\nallow if {\n\tevery x in input.y { x }\n}\n"
    )
    done = placet("bundle", "build", *arguments, "-o", "x.tar.gz")
    assert done.returncode == code, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("placet: ")]
    assert says in line
    assert not list(tmp_path.glob("x.tar.gz*"))


def test_what_is_unused_is_the_authors_own_to_leave(placet, tmp_path):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "app.rego").write_text("package app\n\nimport data.lib\n\nallow if input.x\n")
    words = ("bundle", "build", "policy", "--entrypoint", "app/allow", "-o", "x.tar.gz")
    assert placet(*words).returncode == 3
    assert placet(*words, "--no-strict").returncode == 0
    assert json.loads(placet("bundle", "inspect", "x.tar.gz", "--output", "json").stdout)["faults"] == []


def test_outputs_hold_one_bundle(placet, tmp_path):
    shutil.copytree(PROJECTS / "orders", tmp_path / "orders")
    digests = set()
    for source, out in (
        ("orders", "a.tar.gz"),
        ("orders", "oci:layout"),
        ("oci:layout", "b.tar.gz"),
        ("orders", "dir/"),
    ):
        done = placet("bundle", "build", source, "-o", out, "--no-git", "--output", "json")
        assert done.returncode == 0, done.stderr
        digests.add(json.loads(done.stdout)["digest"])
    assert len(digests) == 1
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert (tmp_path / "dir" / "policy" / "rbac" / "rbac.rego").is_file()
    # What was written out is a policy again.
    assert placet("bundle", "build", "dir", "-o", "c.tar.gz", "--no-git").returncode == 0
    assert placet("bundle", "diff", "a.tar.gz", "c.tar.gz", "--exit-code").returncode == 0


def test_a_difference_is_an_exit_code_when_asked_for(placet, tmp_path):
    shutil.copytree(PROJECTS / "orders", tmp_path / "orders")
    assert placet("bundle", "build", "orders", "-o", "a.tar.gz").returncode == 0
    rbac = tmp_path / "orders" / "policy" / "rbac" / "rbac.rego"
    rbac.write_text(rbac.read_text() + '\nroles_of(user) := {"clerk"} if user == "eve"\n')
    assert placet("bundle", "build", "orders", "-o", "b.tar.gz").returncode == 0
    done = placet("bundle", "diff", "a.tar.gz", "b.tar.gz", "--output", "json", "--exit-code")
    assert done.returncode == 1
    assert json.loads(done.stdout)["rules"] == {"added": [], "removed": [], "changed": ["orders.rbac.roles_of"]}
    assert "orders.rbac.roles_of" in placet("bundle", "diff", "a.tar.gz", "b.tar.gz").stdout


# ---- the page ----------------------------------------------------------------------------------------------


def commands():
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line)


def test_the_page_on_moving_is_true(placet, opa, sigstore, tmp_path):
    shutil.copytree(PROJECTS / "orders", tmp_path / "orders")
    (tmp_path / "token").write_text(sigstore.token("dev@example.org"))
    (tmp_path / "token").chmod(0o600)
    instance = ["--trust-config", str(sigstore.trust_config)]
    said = []
    for program, *words in commands():
        if program == "opa":
            directory = words.index("orders")
            words[directory] = str(tmp_path / "orders")
            words[words.index("old.tar.gz")] = str(tmp_path / "old.tar.gz")
            assert opa.run(words).returncode == 0
            continue
        if words[1] == "sign":
            words += [*instance, "--identity-token", str(tmp_path / "token")]
        if words[1] == "verify":
            words[words.index("https://accounts.example.org")] = sigstore.issuer_url
            words += instance
        done = placet(*words, "--output", "json")
        assert done.returncode == 0, done.stderr
        said.append((words[1], json.loads(done.stdout)))
    answers = dict(said)
    assert [name for name, _ in said] == ["build", "inspect", "build", "diff", "sign", "verify"]
    assert said[0][1]["roots"] == ["limits", "orders/authz", "orders/lib/times", "orders/rbac", "roles", "users"]
    assert said[0][1]["entrypoint"] == "orders/authz/allow"
    refused = {one["field"].rsplit("/", 1)[-1] for one in answers["inspect"]["faults"]}
    assert refused == {"roots", "authz_test.rego"}  # nobody chose roots, and a test was packed
    rules = answers["diff"]["rules"]
    assert not [*rules["added"], *rules["changed"]]
    assert rules["removed"]
    assert all(rule.startswith("orders.authz_test.") for rule in rules["removed"])
    assert not any(answers["diff"]["data"].values())
    assert answers["verify"]["verified"] is True
    # The old one runs nowhere, whoever signs it.
    old = tmp_path / "old.tar.gz"
    session = SigningSession(TrustConfig.from_file(sigstore.trust_config), sigstore.token("dev@example.org"))
    old.with_name("old.tar.gz.sigstore.json").write_bytes(session.sign(provenance(old.read_bytes())))
    allowed = ("--certificate-identity", "dev@example.org", "--certificate-oidc-issuer", sigstore.issuer_url)
    denied = placet("bundle", "verify", "old.tar.gz", *allowed, *instance)
    assert denied.returncode == 3
    assert "denied: archive.path" in denied.stderr
    # And the wrapped one does.
    check_policy(parse_bundle((tmp_path / "wrapped.tar.gz").read_bytes()), opa)
