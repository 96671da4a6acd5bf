"""`placet policy` as an author uses it: from nothing to a tested bundle, and what goes wrong on the way."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer.main
from typer.testing import CliRunner

from app.core.policy_template import Template
from cli.main import build

pytestmark = pytest.mark.stack


@pytest.fixture
def placet(tmp_path, opa_binary):
    """Runs `placet policy …` in an empty directory: exit code, stdout, stderr."""

    def run(*arguments, stdin=""):
        words = ["policy", *map(str, arguments)]
        if arguments[0] not in ("new", "--help") and "--help" not in words:
            words += ["--opa", str(opa_binary)]
        return of(subprocess.run(command(*words), input=stdin.encode(), **options(tmp_path)))

    return run


def command(*words):
    return [sys.executable, "-m", "cli", *words]


def options(directory):
    root = Path(__file__).resolve().parents[2]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PLACET_", "_"))}
    return {
        "cwd": directory,
        "capture_output": True,
        "timeout": 120,
        "check": False,
        "env": {**inherited, "PYTHONPATH": str(root)},
    }


def of(done):
    errors = done.stderr.decode()
    assert "Traceback" not in errors
    assert "internal error" not in errors
    return done.returncode, done.stdout.decode(), errors


@pytest.mark.parametrize("template", Template)
def test_a_new_policy_works_at_once(placet, tmp_path, opa_binary, template):
    code, out, _ = placet("new", "mine", "--template", template.value, "--output", "json")
    assert code == 0
    assert json.loads(out) == {"policy": "mine", "template": template.value}

    code, out, errors = placet("check", "mine")
    assert (code, out) == (0, ""), errors

    code, out, errors = placet("test", "mine", "--junit", "report.xml", "--output", "json")
    report = json.loads(out)
    assert code == 0, errors
    assert report["coverage"]["percent"] == report["threshold"] == 100
    assert len(ElementTree.parse(tmp_path / "report.xml").findall(".//testcase")) == report["passed"]

    code, out, _ = placet("eval", "mine", "--input", "mine/inputs/allowed/input.json")
    assert code == 0
    assert json.loads(out)["allow"] is True
    code, out, _ = placet("explain", "mine/inputs/denied/input.json", "mine", "--output", "json")
    assert code == 0
    assert json.loads(out)["value"]["allow"] is False

    # What the verifier accepts is what was checked: the same directory, packed.
    words = ("bundle", "build", "mine", "-o", "mine.tar.gz", "--opa", str(opa_binary))
    code, _, errors = of(subprocess.run(command(*words), **options(tmp_path)))
    assert code == 0, errors

    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    code, _, errors = placet("new", "mine", "--template", template.value)
    assert code == 2
    assert "nothing is overwritten" in errors
    assert before == {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}


def test_what_its_hook_runs_are_commands_that_exist(placet, tmp_path):
    import yaml

    placet("new", "mine")
    hooks = yaml.safe_load((tmp_path / "mine" / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for hook in hooks:
        words = hook["entry"].split()
        assert words[0] == "placet"
        code, _, errors = of(subprocess.run(command(*words[1:]), **options(tmp_path / "mine")))
        assert code == 0, errors


def test_faults_come_with_place_and_remedy_on_stdout(placet, tmp_path):
    placet("new", "mine")
    (tmp_path / "mine" / "mine" / "more.rego").write_text("package mine.more\n\na := b\n\nc := d\n")
    code, out, errors = placet("check", "mine")
    assert code == 1
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "mine/mine/more.rego:3:6: var b is unsafe",
        "mine/mine/more.rego:5:6: var d is unsafe",
    ]
    assert "2 faults" in errors
    code, out, _ = placet("check", "mine", "--output", "json")
    assert code == 1
    assert [(one["file"], one["line"], one["column"]) for one in json.loads(out)] == [
        ("mine/mine/more.rego", 3, 6),
        ("mine/mine/more.rego", 5, 6),
    ]
    code, _, errors = placet("test", "mine")
    assert code == 1
    assert "mine/mine/more.rego:3" in errors
    (tmp_path / "mine" / "placet.yaml").write_text("treshold: 3\n")
    code, _, errors = placet("check", "mine")
    assert code == 2
    assert "mine/placet.yaml:1:1: treshold" in errors


def test_a_failure_reads_well_and_coverage_gates(placet, tmp_path):
    placet("new", "mine")
    test = tmp_path / "mine" / "mine" / "authz_test.rego"
    good = test.read_text()
    test.write_text(
        good + '\ntest_wrong if {\n\tdecision := decide(shop, "DELETE", "/orders/7")\n\tdecision.allow\n}\n'
    )
    code, out, errors = placet("test", "mine")
    assert code == 1
    assert f"mine/mine/authz_test.rego:{len(good.splitlines()) + 2}: test_wrong failed" in out
    assert "not true: decision.allow" in out
    assert "5 passed, 1 failed" in errors

    test.write_text(good.split("test_a_stranger")[0])
    code, out, errors = placet("test", "mine")
    assert code == 1
    assert "no test reaches this" in out
    assert re.search(r"coverage [\d.]+% is below the threshold of 100%", errors)
    assert placet("test", "mine", "--threshold", "10")[0] == 0
    assert placet("test", "mine", "--threshold", "101")[0] == 2
    assert placet("test", "mine", "--run", "shop_reads", "--threshold", "10")[0] == 2
    code, _, errors = placet("test", "mine", "--run", "shop_reads")
    assert (code, "1 passed" in errors) == (0, True)
    code, _, errors = placet("test", "mine", "--run", "nothing_like_it")
    assert code == 1
    assert "no test matches" in errors
    test.unlink()
    code, _, errors = placet("test", "mine")
    assert code == 1
    assert "has no tests" in errors


def test_formatting_shows_writes_and_is_idempotent(placet, tmp_path):
    placet("new", "mine")
    loose = tmp_path / "mine" / "mine" / "loose.rego"
    loose.write_text("package mine.loose\na:=1\n")
    loose.chmod(0o640)
    code, out, _ = placet("fmt", "mine", "--check")
    assert (code, out) == (1, "mine/mine/loose.rego\n")
    code, out, _ = placet("fmt", "mine", "--diff")
    assert code == 0
    assert "-a:=1\n+\n+a := 1\n" in out
    assert loose.read_text() == "package mine.loose\na:=1\n"
    code, out, _ = placet("fmt", "mine", "--output", "json")
    assert json.loads(out) == {"changed": ["mine/mine/loose.rego"], "written": True}
    assert loose.read_text() == "package mine.loose\n\na := 1\n"
    assert loose.stat().st_mode & 0o777 == 0o640
    assert placet("fmt", "mine", "--check")[:2] == (0, "")
    loose.write_text("package mine.loose\n\na := {\n")
    code, _, errors = placet("fmt", "mine")
    assert code == 1
    assert "mine/mine/loose.rego:4:1: unexpected eof token" in errors
    assert loose.read_text().endswith("{\n")


def test_a_difference_of_formats_obeys_nobody(placet, tmp_path):
    placet("new", "mine")
    module = tmp_path / "mine" / "mine" / "more.rego"
    module.write_text("package mine.more\n\n# \x1b[31m \u202e\nx   := 1\n")
    _, out, _ = placet("fmt", "mine", "--diff")
    assert "\\x1b[31m \\u202e" in out
    assert not {"\x1b", "\u202e"} & set(out)


def test_asking(placet, tmp_path):
    placet("new", "mine")
    given = (tmp_path / "mine" / "inputs" / "allowed" / "input.json").read_text()
    subject = tmp_path / "subject.json"
    subject.write_text('{"id": "spiffe://example.org/support", "issuer": "x"}')
    code, out, _ = placet("eval", "mine", "--input", "-", "--subject", subject, "--output", "json", stdin=given)
    assert code == 0
    assert json.loads(out)["result"]["obligations"] == []
    code, out, _ = placet("eval", "mine", "--query", "data.mine.personal_fields")
    assert (code, json.loads(out)) == (0, ["email", "address"])
    more = tmp_path / "more.json"
    more.write_text('{"elsewhere": {"limit": 7}}')
    code, out, _ = placet("eval", "mine", "--query", "data.elsewhere.limit", "--data", more)
    assert (code, out) == (0, "7\n")
    more.write_text("[]")
    code, _, errors = placet("eval", "mine", "--data", more)
    assert code == 2
    assert "more.json: the data is an object" in errors
    code, out, errors = placet("eval", "mine", "--query", "data.mine.nothing")
    assert (code, out) == (1, "")
    assert "undefined" in errors
    code, _, errors = placet("eval", "mine", "--query", "data.mine[")
    assert code == 1
    assert "the query:1:10: unexpected eof token; OPA could not read on" in errors
    code, _, errors = placet("eval", "mine", "--input", "-", stdin='{"a": 1, "a": 2}')
    assert code == 2
    assert "stdin: the member 'a' stands twice" in errors
    code, _, errors = placet("eval", "mine", "--input", tmp_path / "nowhere.json")
    assert code == 2
    assert "nowhere.json" in errors
    code, out, _ = placet("explain", "mine/inputs/denied/input.json", "mine")
    assert code == 0
    assert "- granted  mine/mine/authz.rego:" in out
    assert 'input.action.name = "DELETE"' in out
    code, out, _ = placet("bench", "mine", "--input", "mine/inputs/allowed/input.json", "--output", "json")
    assert code == 0
    assert json.loads(out)["ns_per_op"] > 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.rego").write_text('package a\n\nx := {"allowed": true}\n')
    (tmp_path / "other" / "placet.yaml").write_text("entrypoint: a/x\n")
    code, out, errors = placet("eval", "other")
    assert (code, json.loads(out)) == (0, {"allowed": True})
    assert "policy.malformed" in errors
    (tmp_path / "mine" / ".manifest").unlink()
    code, _, errors = placet("eval", "mine")
    assert code == 2
    assert "entrypoint: payments/authz/decision" in errors


def test_watching_as_lines_of_json(placet, tmp_path, opa_binary):
    placet("new", "mine")
    watched = Watched(tmp_path, opa_binary, "--output", "json")
    try:
        first = json.loads(watched.until("\n"))
        assert (first["changed"], first["passed"]) == ([], 5)
        (tmp_path / "mine" / "mine" / "x_test.rego").write_text("package mine.x_test\n\ntest_one if 1 == 1\n")
        second = json.loads(watched.until("\n"))
        assert (second["changed"], second["passed"]) == (["mine/x_test.rego"], 1)
    finally:
        watched.process.kill()
        watched.process.wait()


class Watched:
    """A running `placet policy watch`, and what it has said so far."""

    def __init__(self, directory, opa, *more):
        words = command("policy", "watch", "mine", "--interval", "0.05", "--opa", str(opa), *more)
        given = options(directory)
        self.process = subprocess.Popen(
            words, cwd=given["cwd"], env=given["env"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.said = ""

    def until(self, text, seconds=60):
        """What it says up to a line with this text; then all before is forgotten."""
        end = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            select.select([self.process.stdout], [], [], 0.2)
            self.said += (self.process.stdout.read() or b"").decode()
        line, _, self.said = self.said.partition(text)
        return line


def test_watching_tests_again_what_was_saved(placet, tmp_path, opa_binary):
    placet("new", "mine")
    more = tmp_path / "mine" / "mine" / "apart_test.rego"
    watched = Watched(tmp_path, opa_binary)
    try:
        assert "5 passed" in watched.until("waiting for a save")
        more.write_text("package mine.apart_test\n\ntest_one if 1 == 1\n")
        said = watched.until("waiting for a save")
        assert "1 passed" in said  # not the five others, which cannot notice
        assert "mine/apart_test.rego: " in said
        more.write_text("package mine.apart_test\n\ntest_one if 1 == 2\n")
        assert "test_one failed" in watched.until("waiting for a save")
        more.write_text("package mine.apart_test\n\ntest_one if {\n")
        watched.until("does not compile")
        more.write_text("package mine.apart_test\n\ntest_one if 1 == 1\n")
        assert "6 passed" in watched.until("waiting for a save")  # after a failure, everything
        (tmp_path / "mine" / "placet.yaml").write_text("wrong: 1\n")
        watched.until("placet.yaml:1:1")
        watched.process.send_signal(signal.SIGINT)
        assert watched.process.wait(timeout=30) == 0
        rest = watched.said + (watched.process.stdout.read() or b"").decode()
        assert rest.splitlines()[-1] == "stopped"
        assert "\x1b" not in rest
    finally:
        watched.process.kill()
        watched.process.wait()


@pytest.mark.parametrize(
    ("shell", "given", "wanted"),
    [
        (
            "bash",
            {"COMP_WORDS": "placet policy ", "COMP_CWORD": "2"},
            {"new", "check", "fmt", "test", "watch", "explain"},
        ),
        (
            "bash",
            {"COMP_WORDS": "placet policy new x --template ", "COMP_CWORD": "5"},
            {"http-api", "ai-agent", "kubernetes-admission", "data-filter"},
        ),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "placet policy ex"}, {"explain"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "placet pol", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, {"policy"}),
    ],
)
def test_shells_complete(tmp_path, shell, given, wanted):
    given_options = options(tmp_path)
    given_options["env"] |= {"_PLACET_COMPLETE": f"complete_{shell}", **given}
    script = Path(sys.executable).with_name("placet")
    done = subprocess.run([script], **given_options)
    assert wanted <= set(re.findall(r"[a-z]+(?:-[a-z]+)*", done.stdout.decode())), done


def test_a_linked_directory_and_an_allowed_builtin(placet, tmp_path):
    placet("new", "mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine" / "linked").symlink_to(tmp_path / "elsewhere")
    code, out, _ = placet("check", "mine")
    assert (code, out.splitlines()[0]) == (3, "mine/linked:1:1: mine/linked is a link")
    code, _, errors = placet("test", "mine")
    said = "archive.link: mine/linked is a link; put the file itself there, or its directory"
    assert (code, errors) == (3, f"placet: denied: {said}\n")
    (tmp_path / "mine" / "linked").unlink()
    (tmp_path / "mine" / "mine" / "dice.rego").write_text("package mine.dice\n\nroll := rand.intn(`x`, 3)\n")
    assert placet("check", "mine")[0] == 1
    assert placet("check", "mine", "--allow-builtin", "rand.intn")[0] == 0
    code, _, errors = placet("check", "mine", "--allow-builtin", "rand.int")
    assert code == 2
    assert "--allow-builtin rand.int: OPA" in errors


def test_all_that_a_build_writes_can_be_looked_into(placet, tmp_path, opa_binary):
    placet("new", "mine")
    shown = []
    for out, named in (
        ("x.tar.gz", "x.tar.gz"),
        ("files/", "files"),
        ("oci:layout", "oci:layout:latest"),
        ("oci:more", "more"),
    ):
        for words in (["build", "mine", "-o", out], ["inspect", named], ["diff", "x.tar.gz", named, "--exit-code"]):
            more = ("--opa", str(opa_binary), "--output", "json")
            code, text, errors = of(subprocess.run(command("bundle", *words, *more), **options(tmp_path)))
            assert code == 0, errors
            shown += [json.loads(text)] if words[0] == "inspect" else []
    assert shown == [shown[0]] * 4
    assert shown[0]["faults"] == []


def test_every_command_has_an_example_that_parses():
    policy = typer.main.get_command(build(["policy"])).commands["policy"]
    assert set(policy.commands) == {"new", "check", "fmt", "test", "eval", "bench", "explain", "watch"}
    for name, one in policy.commands.items():
        assert f"placet policy {name}" in one.epilog
        shown = CliRunner().invoke(build(["policy"]), ["policy", name, "--help"])
        assert shown.exit_code == 0
        assert "placet policy" in shown.output


def test_watching_nothing_says_so(placet):
    code, _, errors = placet("watch", "nowhere")
    assert code == 2
    assert "nowhere is not a directory" in errors
