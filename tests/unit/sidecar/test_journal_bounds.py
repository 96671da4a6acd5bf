"""What a journal keeps while it is still needed, and what of one execution is too much."""

import time

import pytest

from app.core.errors import Denied
from app.core.reason_codes import Reason
from app.sidecar import journal_leaves
from app.sidecar.execution_notes import NotOfIt

from .journal_kit import ID, OTHER, SIDECAR, Agent, Plane, Signer
from .test_journal import FILE, cut, leaf


@pytest.fixture
def plane():
    return Plane()


@pytest.fixture
def agent(tmp_path, plane):
    return Agent(tmp_path / "private", plane, Signer()).start()


def prune(agent):
    agent.journal._pruned = float("-inf")
    agent.journal.prune()


def test_an_execution_that_ended_long_ago_is_kept_while_its_end_is_a_draft(agent, plane):
    agent.begin()
    cut(agent, "d-1")
    agent.journal.finalise()
    agent.seen = (FILE, 200)  # no batch is cut any more
    agent.begin(OTHER, "d-2")
    agent.executions.end(ID, SIDECAR, "completed")
    old = int(time.time()) - 8 * 86_400
    with agent.journal.transaction() as database:
        database.execute("UPDATE execution SET ended_at = ?, until = ? WHERE id = ?", (old, old, ID))
    prune(agent)
    cut(agent, "d-2", execution=OTHER, upto=300)
    agent.drain()
    assert len(plane.links) == 3
    prune(agent)
    with agent.journal.transaction() as database:
        assert database.execute("SELECT subject FROM execution WHERE id = ?", (ID,)).fetchone() == ("",)


def test_starts_count_as_steps_do(agent, monkeypatch):
    monkeypatch.setattr("app.sidecar.execution_journal.MAX_STEPS", 3)  # a proof would hold 5: with the end
    for number in range(3):
        agent.begin(decision=f"d-{number}")
    agent.step()
    with pytest.raises(Denied) as denied:
        agent.begin()
    assert denied.value.reason == Reason.EXECUTION_CONFLICT
    with pytest.raises(Denied) as denied:
        agent.step()
    assert denied.value.reason == Reason.LINK_MALFORMED
    agent.executions.end(ID, SIDECAR, "completed")
    with agent.journal.transaction() as database:
        assert database.execute("SELECT count(*) FROM statement").fetchone() == (5,)


def later(agent):
    with agent.journal.transaction() as database:
        database.execute("UPDATE leaf SET cut_at = cut_at - ?", (journal_leaves.LEAVES_KEPT + 1,))


def test_a_decision_may_be_named_as_long_as_its_execution_runs(agent, plane):
    agent.begin()
    cut(agent, "d-1", "d-2")
    later(agent)
    prune(agent)
    agent.step(decisions=["d-2"])
    agent.executions.end(ID, SIDECAR, "completed")
    prune(agent)  # the step is a draft
    agent.drain()
    assert (plane.links[1].decisions, plane.links[1].byproducts["unresolved"]) == ({"d-2": leaf("d-2")}, [])
    prune(agent)
    with agent.journal.transaction() as database:
        assert agent.journal.leaf(database, "d-2") is None


def test_what_was_forgotten_is_refused_and_not_called_unrecorded(agent, plane, monkeypatch):
    monkeypatch.setattr(journal_leaves, "MAX_LEAVES", 2)
    agent.begin()
    agent.begin(OTHER, "e-1")
    cut(agent, "d-1", "d-2")
    cut(agent, "e-1", "e-2", execution=OTHER)
    agent.drain()
    prune(agent)
    with pytest.raises(NotOfIt, match="d-2 was recorded is not known"):
        agent.step(decisions=["d-2"])
    agent.step()
    agent.step(execution=OTHER, decisions=["e-2"])
    prune(agent)
    with pytest.raises(NotOfIt):
        agent.step(decisions=["d-2"])
    agent.executions.end(ID, SIDECAR, "completed")
    agent.drain()
    later(agent)
    prune(agent)
    with agent.journal.transaction() as database:
        assert not journal_leaves.forgot(database, ID)


def test_an_execution_that_starts_again_after_its_time_may_have_lost_leaves(agent):
    agent.begin()
    cut(agent, "d-1", "d-2")
    with agent.journal.transaction() as database:
        database.execute("UPDATE execution SET until = ?", (int(time.time()) - 10,))
    agent.drain()
    later(agent)
    prune(agent)
    agent.begin(decision="d-3")
    with pytest.raises(NotOfIt):
        agent.step(decisions=["d-2"])
