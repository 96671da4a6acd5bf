"""The journal: drafts, leaf hashes, numbers, kills and damage. Real signatures: tests/integration."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from hashlib import sha256

import pytest

from app.core.errors import Denied, PlacetError
from app.core.link import Link
from app.core.link_names import END, ENFORCE, RENEWED, START, STEP, TRUST, Ref, payload_digest
from app.core.reason_codes import Reason
from app.sidecar import journal as module
from app.sidecar.control_plane import NotAccepted
from app.sidecar.execution_notes import NotOfIt
from app.sidecar.journal import Journal, Leaf
from app.sidecar.journal_draft import Draft

from .journal_kit import ID, INSTANCE, OPA, OTHER, POLICY, SIDECAR, STATE, Agent, Crash, Plane, Signer

HASH = sha256(b"leaf").digest()
FILE = "00000001-0000000000000001.log"


@pytest.fixture
def plane():
    return Plane()


@pytest.fixture
def signer():
    return Signer()


@pytest.fixture
def agent(tmp_path, plane, signer):
    return Agent(tmp_path / "private", plane, signer).start()


@pytest.fixture
def again(tmp_path, plane, signer):
    """Another agent in the same directory."""
    return lambda: Agent(tmp_path / "private", plane, signer).start()


def cut(agent, *decisions, execution=ID, upto=100):
    leaves = [Leaf(one, execution, sha256(one.encode()).digest()) for one in decisions]
    agent.journal.recorded((FILE, upto), leaves)


def leaf(decision):
    return f"sha256:{sha256(decision.encode()).hexdigest()}"


def test_the_file_is_for_this_user_alone_and_every_commit_is_on_disk(agent):
    assert stat.S_IMODE(agent.path.stat().st_mode) == 0o600
    with agent.journal.transaction() as database:
        assert database.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    agent.begin()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in agent.path.parent.glob("journal-*")}
    assert modes == {0o600}


def test_an_execution_from_start_to_end(agent, plane):
    agent.journal.note(
        Draft(ENFORCE, SIDECAR, 1, {"channel": "prod", "sequence": "1"}, policy=POLICY, about=Ref("revision", OPA),
              materials=(Ref("policy", POLICY), Ref("library", OPA), Ref("opa", OPA), Ref("evidence/x", OPA)))
    )  # fmt: skip
    agent.begin()
    cut(agent, "d-1", "d-2")
    first = agent.step(decisions=["d-2"], products=(Ref("artifact/out", STATE),), facts={"exit": "0"})
    second = agent.step("test", materials=(Ref("artifact/out", STATE),), parents=(Ref("link/parent", OPA),))
    agent.executions.end(ID, SIDECAR, "completed")
    assert agent.executions.find(ID, first.number).digest is None, "a draft"
    agent.drain()
    enforce, start, one, two, end = plane.links
    assert [link.kind for link in plane.links] == [ENFORCE, START, STEP, STEP, END]
    assert [link.number for link in plane.links] == [0, 1, 2, 3, 4] == [0, 1, first.number, second.number, 4]
    digests = [payload_digest(payload) for payload in plane.payloads]
    assert [link.previous for link in plane.links] == [None, *digests[:-1]]
    assert [link.before for link in plane.links] == [None, None, *digests[1:4]]
    assert start.decisions == {"d-1": leaf("d-1")}
    assert Ref("link/release/enforce", digests[0]) in start.materials
    assert one.decisions == {"d-2": leaf("d-2")}
    assert one.byproducts == {"execution": ID, "step": "build", "steps": "1", "facts": {"exit": "0"}, "unresolved": []}
    assert two.byproducts["steps"] == "2"
    assert end.byproducts == {"execution": ID, "outcome": "completed", "reason": None, "steps": "2"}
    found = agent.executions.find(ID, first.number)
    assert (found.digest, found.name, found.steps) == (digests[2], "build", 1)
    assert agent.executions.find(OTHER, first.number) is None
    assert agent.executions.find(ID, 1) is None, "the start is no step"
    assert enforce.execution is None
    assert agent.reasons() == []


def test_a_draft_waits_for_the_leaf_hashes_and_everything_after_it_for_the_draft(agent, plane):
    agent.seen = (FILE, 90)
    agent.begin()
    agent.seen = None
    agent.begin(OTHER)
    agent.drain()
    assert plane.links == []
    assert agent.shipping.describe()["drafts"] == 2
    agent.journal.recorded((FILE, 80), [])
    agent.drain()
    assert plane.links == [], "its record may still come"
    cut(agent, "d-1")
    agent.drain()
    assert [link.execution for link in plane.links] == [ID, OTHER]
    assert plane.links[0].decisions == {"d-1": leaf("d-1")}


def test_what_was_never_recorded_is_said(agent, plane):
    agent.seen = (FILE, 90)
    agent.begin()
    agent.step(decisions=["d-2", "d-3"])
    cut(agent, "d-3", upto=90)
    agent.drain()
    assert plane.links[0].byproducts["unresolved"] == ["d-1"]
    assert (plane.links[1].byproducts["unresolved"], set(plane.links[1].decisions)) == (["d-2"], {"d-3"})


def test_a_newer_record_file_is_after_an_older_one(agent, plane):
    agent.seen = (FILE, 90)
    agent.begin()
    agent.journal.recorded(("00000002-0000000000000002.log", 5), [])
    agent.drain()
    assert plane.links[0].byproducts["unresolved"] == ["d-1"]


def test_a_decision_of_another_execution_is_not_named(agent, plane):
    agent.begin()
    agent.begin(OTHER, "d-9")
    cut(agent, "d-9", execution=OTHER)
    with pytest.raises(NotOfIt, match="d-9 is of another execution"):
        agent.step(decisions=["d-9"])
    agent.seen = (FILE, 150)
    agent.step(decisions=["d-8"])
    cut(agent, "d-8", execution=OTHER, upto=150)
    agent.drain()
    assert plane.links[-1].byproducts["unresolved"] == ["d-8"], "known too late to refuse it"


def test_the_same_execution_may_start_again(agent, plane):
    agent.begin()
    agent.step()
    agent.begin(decision="d-2")
    agent.step()
    agent.drain()
    assert [link.kind for link in plane.links] == [START, STEP, START, STEP]
    assert plane.links[2].before == payload_digest(plane.payloads[1])
    assert plane.links[3].byproducts["steps"] == "2"
    with pytest.raises(Denied) as denied:
        agent.begin(claims={"sub": "somebody", "sub_iss": "else", "warrants": []})
    assert denied.value.reason == Reason.EXECUTION_CONFLICT


def test_numbers_and_names_are_bounded(agent, monkeypatch):
    with pytest.raises(Denied) as denied:
        agent.step()
    assert denied.value.reason == Reason.LINEAGE_UNAVAILABLE, "it did not start here"
    agent.begin()
    monkeypatch.setattr("app.sidecar.execution_journal.MAX_STEPS", 2)
    agent.step()
    agent.step()
    with pytest.raises(Denied, match="at most 1000 steps"):
        agent.step()
    monkeypatch.setattr(module, "MAX_WAITING", 4)
    agent.begin(OTHER)
    with pytest.raises(Denied) as denied:
        agent.step(execution=OTHER)
    assert denied.value.reason == Reason.LINEAGE_UNAVAILABLE
    agent.journal.note(Draft(RENEWED, SIDECAR, 1, {"reason": None, "detail": ""}))


@pytest.mark.parametrize("spoilt", [{"name": "a b"}, {"materials": (Ref("artifact/a", OPA), Ref("artifact/a", STATE))}])
def test_what_could_never_be_a_statement_is_no_draft(agent, spoilt):
    agent.begin()
    with pytest.raises(Denied) as denied:
        agent.step(**spoilt)
    assert denied.value.reason == Reason.LINK_MALFORMED
    assert agent.shipping.describe()["drafts"] == 1
    assert agent.step().number == 1, "its number is not lost"


def test_a_start_of_a_form_that_no_statement_can_hold(agent):
    request = {"action": {"name": "x" * 20_000}, "resource": {"type": "t", "id": "i"}}
    with pytest.raises(Denied) as denied:
        agent.begin(request=request)
    assert denied.value.reason == Reason.REQUEST_MALFORMED


def crash(*_, **__):
    raise Crash


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Journal, "finalise"),
        (Journal, "_make_final"),
        (Journal, "waiting"),
        (Signer, "begin"),
        (Plane, "ship_link"),
        (Journal, "acknowledge"),
    ],
)
def test_a_crash_anywhere_loses_and_forks_nothing(agent, again, plane, signer, monkeypatch, place, name):
    agent.begin()
    cut(agent, "d-1")
    for number in range(5):
        agent.step(f"step-{number}")
    with monkeypatch.context() as patched:
        patched.setattr(place, name, crash)
        with pytest.raises(Crash):
            agent.drain()
    agent.kill()
    other = again()
    other.step("after")
    other.drain()
    assert [link.number for link in plane.links] == list(range(7))
    assert [link.byproducts.get("step") for link in plane.links] == [None, *(f"step-{n}" for n in range(5)), "after"]
    assert forks(signer) == []
    assert other.reasons() == []


def forks(signer):
    """Numbers for which two statements were signed, which is what a fork is."""
    by_number = {}
    for unsigned in signer.signed:
        by_number.setdefault(Link.read(unsigned.statement).number, set()).add(unsigned.statement)
    return [number for number, found in by_number.items() if len(found) > 1]


def test_a_kill_between_a_batch_and_the_draft_that_waits_for_it(agent, again, plane):
    agent.seen = (FILE, 90)
    agent.begin()
    cut(agent, "d-1", upto=100)
    agent.kill()
    other = again()
    other.drain()
    assert plane.links[0].decisions == {"d-1": leaf("d-1")}, "leaf hashes are on disk before a batch is shipped"


def test_a_process_that_is_killed_while_it_writes(tmp_path, plane, signer):
    """kill -9 under load: whatever it said that it noted is there, in order, and nothing else is signed."""
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from tests.unit.sidecar.journal_kit import Agent, Plane, Signer
        agent = Agent(Path(sys.argv[1]), Plane(), Signer()).start()
        agent.begin()
        print("started", flush=True)
        while True:
            print(agent.step().number, flush=True)
            agent.journal.finalise()
    """)
    private = tmp_path / "private"
    said = []
    for turn in range(3):
        process = subprocess.Popen([sys.executable, "-c", program, str(private)], stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            said += [int(line)] if line.strip().isdigit() else []
            if len(said) >= 20 * (turn + 1):
                break
        os.kill(process.pid, signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split("\n")[:-1] if line.isdigit()]
        process.stdout.close()
        process.wait()
    agent = Agent(private, plane, signer).start()
    agent.drain()
    assert [link.number for link in plane.links] == list(range(len(plane.links)))
    steps = {link.number: link for link in plane.links if link.kind == STEP}
    assert set(said) <= set(steps)
    assert len(steps) <= len(said) + 3, "at most the one that each was writing"
    assert [link.byproducts["steps"] for link in steps.values()] == [str(n) for n in range(1, len(steps) + 1)]


def test_nobody_answers_for_a_while(agent, plane, signer, monkeypatch):
    agent.begin()

    def unanswered():
        raise NotAccepted("the control plane does not answer")

    plane.before = unanswered
    agent.drain()
    assert agent.reasons() == [], "who is merely not there breaks nothing"
    assert agent.shipping.describe()["trouble"] == "the control plane does not answer"
    plane.before = lambda: None
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 60)
    agent.drain()
    assert len(plane.links) == 1
    assert agent.shipping.describe() == {"drafts": 0, "waiting": 0, "acknowledged": 1, "trouble": None}


@pytest.mark.parametrize("reason", [Reason.LINK_GAP, Reason.LINK_FORK, Reason.LINK_INVALID, Reason.SIDECAR_EVICTED])
def test_a_refusal_is_a_break_until_it_is_taken_after_all(agent, again, plane, monkeypatch, reason):
    agent.begin()
    plane.before = lambda: plane.refuse(reason)
    agent.drain()
    assert agent.reasons() == [reason]
    agent.kill()
    other = again()
    assert other.reasons() == [reason], "a new agent begins without a lease"
    plane.before, plane.broken = lambda: None, False
    other.drain()
    assert other.reasons() == []
    assert len(plane.links) == 1


def test_an_older_journal_is_a_fork(agent, again, plane):
    agent.begin()
    agent.drain()
    backup = {path: path.read_bytes() for path in agent.path.parent.glob("journal-*.db*")}
    agent.step("one")
    agent.drain()
    agent.kill()
    for path in agent.path.parent.glob("journal-*.db*"):
        path.unlink()
    for path, content in backup.items():
        path.write_bytes(content)
    other = again()
    other.step("another")
    other.drain()
    assert other.reasons() == [Reason.LINK_FORK]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE statement SET statement = CAST(replace(statement, 'build', 'guild') AS BLOB) WHERE number = 1",
        "UPDATE statement SET digest = 'sha256:0' WHERE number = 1",
        "DELETE FROM statement WHERE number = 1",
        "UPDATE statement SET draft = CAST('{}' AS BLOB) WHERE number = 3",
        "UPDATE statement SET statement = NULL, digest = NULL WHERE number = 1",
    ],
)
def test_a_journal_that_was_changed_is_not_gone_on_with(agent, again, plane, damage):
    agent.begin()
    agent.step()
    agent.step()
    agent.journal.finalise()
    agent.step()
    agent.kill()
    with closing(sqlite3.connect(agent.path)) as database, database:
        database.execute(damage)
    with pytest.raises(PlacetError, match=r"is damaged.*restore it, or delete"):
        again().journal.finalise()
    assert plane.links == []


def test_a_file_that_is_no_journal(agent, again):
    agent.kill()
    agent.path.write_bytes(b"junk" * 1000)
    with pytest.raises(PlacetError, match="is damaged"):
        again()


def fill(agent, facts):
    for _ in range(100):
        agent.step(facts=facts)


def test_a_full_disk_refuses_and_goes_on_later(agent, plane):
    agent.begin()
    with agent.journal.transaction() as database:
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
    facts = {f"f{number}": "x" * 1000 for number in range(10)}
    with pytest.raises(Denied) as denied:
        fill(agent, facts)
    assert denied.value.reason == Reason.LINEAGE_UNAVAILABLE
    assert "full" in denied.value.detail
    with agent.journal.transaction() as database:
        database.execute("PRAGMA max_page_count = 1000000")
    agent.step("after")
    agent.drain()
    steps = [link.byproducts["steps"] for link in plane.links if link.kind == STEP]
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert plane.links[-1].byproducts["step"] == "after"


def test_trust_changes_stand_in_the_same_chain(agent, plane):
    agent.journal.note(Draft(TRUST, SIDECAR, 1, states=(None, STATE), changed=("modes",)))
    agent.begin()
    agent.drain()
    assert [link.kind for link in plane.links] == [TRUST, START]
    assert agent.journal.last(TRUST).states == (None, STATE)


def test_what_is_old_is_forgotten_but_for_what_the_next_one_needs(agent, again, plane, monkeypatch):
    agent.begin()
    agent.step()
    agent.begin(OTHER)
    agent.executions.end(OTHER, SIDECAR, "failed")
    for _ in range(3):
        agent.journal.note(Draft(RENEWED, SIDECAR, 1, {"reason": None, "detail": ""}))
    cut(agent, "d-1")
    agent.drain()
    assert len(plane.links) == 7
    later = time.time() + module.EXECUTIONS_KEPT + 2_000_000_000
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(agent.journal, "_pruned", -1e9)
    agent.journal.prune()
    with agent.journal.transaction() as database:
        assert database.execute("SELECT number FROM statement").fetchall() == [(6,)]
        outcomes = database.execute("SELECT id, subject, outcome FROM execution").fetchall()
        assert database.execute("SELECT count(*) FROM leaf").fetchone() == (0,)
    assert set(outcomes) == {(ID, "", "expired"), (OTHER, "", "failed")}
    agent.kill()
    other = again()
    for over in (ID, OTHER):
        with pytest.raises(Denied) as denied:
            other.executions.require_open(over)
        assert denied.value.reason == Reason.EXECUTION_ENDED, "an id is one execution's for ever"
    other.begin("the-id-of-a-new-execution")
    other.drain()
    assert [link.number for link in plane.links] == list(range(8))
    assert chained(plane)


def chained(plane):
    return [link.previous for link in plane.links] == [None, *map(payload_digest, plane.payloads[:-1])]


def test_one_execution_cannot_take_all_the_room(agent, monkeypatch):
    agent.begin()
    agent.begin(OTHER)
    monkeypatch.setattr("app.sidecar.execution_journal.MAX_BYTES", 3000)
    facts = {f"f{number}": "x" * 500 for number in range(6)}
    agent.step(facts=facts)
    with pytest.raises(Denied) as denied:
        agent.step()
    assert denied.value.reason == Reason.LINK_MALFORMED
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", agent.journal._bytes)
    agent.step(execution=OTHER)
    with pytest.raises(Denied) as denied:
        agent.step(execution=OTHER)
    assert denied.value.reason == Reason.LINEAGE_UNAVAILABLE
    agent.journal.note(Draft(RENEWED, SIDECAR, 1, {"reason": None, "detail": ""}))
    agent.drain()
    agent.step(execution=OTHER)


@pytest.mark.parametrize("archived", [True, False])
def test_a_trust_state_is_shipped_before_the_change_to_it(agent, plane, archived):
    document = b'{"a":"state"}'
    digest = payload_digest(document)
    states = agent.path.parent / "states"
    states.mkdir()
    if archived:
        (states / f"{digest.removeprefix('sha256:')}.json").write_bytes(document)
    plane.before = lambda: seen.append(dict(plane.states))
    seen = []
    agent.journal.note(Draft(TRUST, SIDECAR, 1, states=(None, digest), changed=("modes",)))
    agent.drain()
    assert seen == [{digest: document} if archived else {}]
    assert len(plane.links) == 1, "a state that is lost holds nothing up"


def test_a_journal_belongs_to_one_instance(agent, tmp_path, plane, signer):
    agent.begin()
    agent.journal.finalise()
    agent.kill()
    moved = agent.path.with_name("journal-" + "1f" * 16 + ".db")
    agent.path.rename(moved)
    with pytest.raises(PlacetError, match="is damaged"):
        Agent(tmp_path / "private", plane, signer, instance="1f" * 16).start()
    assert INSTANCE not in moved.name
