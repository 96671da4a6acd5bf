"""Every row of the demo's table, and the kill cases again and again."""

import json
import os
from contextlib import nullcontext

import pytest
import typer

from app.local.demo import run
from app.local.demo.parts import NotSo
from app.local.demo.rows import ROWS, Titled, faults, records
from app.local.demo.run import Demo
from cli import demo
from cli.output import Output

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ROUNDS = int(os.environ.get("PLACET_ROUNDS", "3"))

#: Each is a kill or a freeze under load; a single pass could be luck.
KILLS = [faults.horizon, faults.agent_killed, faults.agent_frozen, records.opa_killed]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Demo(lambda text: None, tmp_path_factory.mktemp("demo")) as world:
        yield world


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_row(world, row):
    assert row.show(world)


@pytest.mark.parametrize("again", range(2, ROUNDS + 1))
@pytest.mark.parametrize("row", KILLS, ids=lambda row: row.title)
def test_kill_again(world, row, again):
    assert row.show(world)


@pytest.mark.parametrize("holds", [True, False])
def test_the_command_tells_by_its_exit_code(world, monkeypatch, capsys, holds):
    """`placet demo run --check` on the stack that runs already, with one row that holds or fails."""
    shown = Titled("a promise", (lambda world: "kept") if holds else _broken)
    monkeypatch.setattr(run, "ROWS", [shown])
    monkeypatch.setattr(run, "Demo", lambda say, directory: nullcontext(world))
    with nullcontext() if holds else pytest.raises(typer.Exit) as ended:
        demo.run(check=True, directory=None, output=Output.JSON)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["row"], row["passed"]) == ("a promise", holds)
    assert holds or ended.value.exit_code == 1


def _broken(world):
    raise NotSo("not so")
