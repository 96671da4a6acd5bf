"""`placet policy check` with a real Regal on the PATH."""

import json
import os

import pytest

from app.core.policy_lint import lint
from app.core.policy_project import load
from app.core.policy_template import Template, create
from app.local import tools

from .control_kit import placet

# The first to ask builds it into the cache of the tools; with an empty build cache that takes minutes.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def path():
    """A PATH with Regal."""
    return f"{tools.install(['regal'])['regal'].parent}:{os.environ['PATH']}"


@pytest.fixture
def regal(path, monkeypatch):
    monkeypatch.setenv("PATH", path)


@pytest.mark.parametrize("template", Template)
def test_regal_has_nothing_to_say_of_a_template(regal, tmp_path, template):
    assert lint(load(create("shop", template, tmp_path))) == []


def test_what_regal_finds_stands_where_it_found_it(regal, tmp_path):
    made = create("shop", Template.HTTP_API, tmp_path)
    bad = made / "shop" / "bad.rego"
    bad.write_text(
        "package shop\n\nimport rego.v1\n\n# TODO: more\nsome_list := [1, 2]\n\nsome_set := {x | x := some_list[_]}\n"
    )
    config = made / ".regal" / "config.yaml"
    config.write_text(config.read_text().replace("  style:\n", "  style:\n    todo-comment: {level: warning}\n"))
    found = {one.message.rpartition("(")[2].rstrip(")"): one for one in lint(load(made))}
    assert all(one.file == str(bad) and one.kind == "lint" for one in found.values())
    todo, loop = found["style/todo-comment"], found["style/prefer-some-in-iteration"]
    assert (todo.line, todo.column, todo.fatal) == (5, 1, False)
    assert (loop.line, loop.fatal) == (8, True)
    assert loop.remedy.endswith("/rules/style/prefer-some-in-iteration")


def test_a_policy_is_refused_for_a_fault_that_regal_finds(path, tmp_path):
    made = create("shop", Template.HTTP_API, tmp_path)
    assert json.loads(placet("policy", "check", made, "--output", "json", PATH=path).stdout) == []
    (made / "shop" / "bad.rego").write_text(
        "package shop\n\nsome_list := [1, 2]\n\nall_of := [x | x := some_list[_]]\n"
    )
    done = placet("policy", "check", made, "--output", "json", expect=1, PATH=path)
    assert {one["kind"] for one in json.loads(done.stdout)} == {"lint"}
