"""Every row of the demo's table, and the kill cases again and again."""

import os

import pytest

from app.local.demo.rows import ROWS, faults, records
from app.local.demo.run import Demo

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300), pytest.mark.xdist_group("rows")]

ROUNDS = int(os.environ.get("PLACET_ROUNDS", "3"))

#: Each is a kill or a freeze under load; a single pass could be luck.
KILLS = [faults.agent_killed, faults.agent_frozen, records.opa_killed]


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
