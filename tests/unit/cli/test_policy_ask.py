"""What an author sees of a policy that somebody else wrote: text, whatever is in it."""

import json

import pytest
from typer.testing import CliRunner

from cli.main import build

#: Red, a title for the window, and right to left.
WILD = "\x1b[31m\x9b31m\x1b]0;x\x07\u202e"


@pytest.fixture
def explain(tmp_path, opa_binary):
    escaped = json.dumps(WILD)
    (tmp_path / "a.rego").write_text(
        f"package app\n\ndefault allow := false\n\nallow if {{\n\tlibrary[{escaped}]\n\tinput.user == {escaped}\n}}\n\n"
        f"library[{escaped}] if name == {escaped}\n\nname := input.user\n\nwhy := {escaped} if not allow\n"
    )
    (tmp_path / "placet.yaml").write_text("entrypoint: app/allow\n")

    def run(user, *options):
        (tmp_path / "input.json").write_text(json.dumps({"user": user}))
        words = ["explain", str(tmp_path / "input.json"), str(tmp_path), "--opa", str(opa_binary), *options]
        done = CliRunner().invoke(build(["policy"]), ["policy", *words])
        assert done.exit_code == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("query", ["data.app.allow", "data.app.why", "data.app.library", "data.app"])
@pytest.mark.parametrize("user", [WILD, WILD + "x"])
def test_an_explanation_obeys_nobody(explain, user, query):
    shown = explain(user, "--query", query)
    assert not [character for character in shown if not character.isprintable() and character != "\n"]
    assert "u001b[31m" in shown.replace("x1b[31m", "u001b[31m")
    assert json.loads(explain(user, "--query", query, "--output", "json"))["rules"]
