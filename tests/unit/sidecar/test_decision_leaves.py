"""Leaf hashes of decisions: from the cutter of batches to the journal."""

import json

import pytest

from app.core import merkle
from app.sidecar import decision_leaves
from app.sidecar.batch_notes import Notes
from app.sidecar.batches import Cutter
from app.sidecar.config import SidecarFiles
from app.sidecar.lineage import records_end

from .batch_kit import OPA, SIDECAR, records, write
from .journal_kit import ID, OTHER, Agent, Plane, Signer


def record(decision, execution, **more):
    document = {
        "decision_id": decision, "input": {"execution": {"id": execution}}, "path": "placet/decision",
        "result": {"allow": True, "execution": execution}, "type": "openpolicyagent.org/decision_logs", **more,
    }  # fmt: skip
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def files(tmp_path):
    files = SidecarFiles(tmp_path / "till")
    files.prepare()
    return files


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "private", Plane(), Signer()).start()


def cutter(files, agent, notes=None):
    notes = notes or Notes(files)
    notes.load()
    return Cutter(
        notes, OPA, lambda: SIDECAR, lambda batch, entries: decision_leaves.tell(agent.journal, batch, entries)
    )


def leaf(agent, decision):
    with agent.journal.transaction() as database:
        return agent.journal.leaf(database, decision)


def test_decisions_of_executions_are_known_by_their_leaf_hashes(files, agent):
    claimed = record("d-6", None, input={"execution": {"id": ID, "token": "x"}})  # says so, and no token held
    odd = [
        claimed,
        b"2026/01/01 00:00:00 http: noise about \"execution\"\n", b'{"execution"\n', record("d-9", 1),
        record("d-8", None), record("d-7", ID, type="else"), b'{"a":' * 3000 + b'"execution"' + b"}" * 3000 + b"\n",
    ]  # fmt: skip
    path = write(files, 1, records(2) + record("d-1", ID) + b"".join(odd) + record("d-2", OTHER))
    batch = cutter(files, agent).cut(ended=True)
    entries = path.read_bytes()[:-1].split(b"\n")
    leaves = merkle.leaf_hashes(batch.salts, entries)
    assert leaf(agent, "d-1") == ("d-1", ID, leaves[2])
    assert leaf(agent, "d-2") == ("d-2", OTHER, leaves[-1])
    assert [leaf(agent, one) for one in ("d-6", "d-7", "d-8", "d-9")] == [None] * 4


def test_a_draft_waits_until_the_records_are_cut_that_were_there(files, agent):
    write(files, 1, record("d-1", ID))
    agent.seen = records_end(files.records)
    assert agent.seen == ("00000001-0000000000000001.log", len(record("d-1", ID)))
    agent.begin()
    assert agent.journal.finalise() == 0
    cutter(files, agent).cut(ended=True)
    assert agent.journal.finalise() == 1
    [link] = agent.journal.waiting(9)
    assert b"decision/d-1" in link.statement


def test_what_a_killed_agent_cut_is_told_again(files, agent, monkeypatch):
    """The batch was noted, and the agent died before the journal knew."""
    write(files, 1, record("d-1", ID))
    lost = []
    notes = Notes(files)
    notes.load()
    Cutter(notes, OPA, lambda: SIDECAR, lambda *told: lost.append(told)).cut(ended=True)
    assert lost
    assert leaf(agent, "d-1") is None
    cutter(files, agent).tell_pending()
    assert leaf(agent, "d-1").execution == ID
    agent.seen = records_end(files.records)
    agent.begin()
    assert agent.journal.finalise() == 1


def test_a_journal_that_cannot_be_written_holds_up_the_batches(files, agent, monkeypatch):
    write(files, 1, record("d-1", ID))
    one = cutter(files, agent)

    def crash(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(agent.journal, "recorded", crash)
        with pytest.raises(OSError, match="disk full"):
            one.cut(ended=True)
        with pytest.raises(OSError, match="disk full"):
            one.cut(ended=True)
    one.cut(ended=True)
    assert leaf(agent, "d-1").execution == ID


def test_where_the_records_end(files):
    assert records_end(files.records) is None
    write(files, 1, b"x\n")
    write(files, 2, b"")
    assert records_end(files.records) == ("00000001-0000000000000001.log", 2), "an empty file holds nothing to wait for"
    write(files, 2, b"abc\n")
    assert records_end(files.records) == ("00000002-0000000000000002.log", 4)
