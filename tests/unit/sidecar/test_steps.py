"""Steps and ends as callers ask for them: a journal on disk, and an OPA that answers what a test says."""

import json
import sqlite3
import time
from contextlib import closing

import pytest

from app.core.errors import Denied
from app.core.link_names import END, START, STEP, payload_digest
from app.core.reason_codes import Reason
from app.sidecar.execution_keys import ExecutionKeys
from app.sidecar.executions import BadRequest, Executions, NotAdmitted
from app.sidecar.opa_api import Answer
from app.sidecar.running import Running
from app.sidecar.steps import Steps
from tests.unit.sidecar.test_answers import ALLOW, CLAIMS, REDEEM
from tests.unit.sidecar.test_answers import START as STARTS
from tests.unit.sidecar.test_executions import TRUST

from .journal_kit import DECISION, ID, LIBRARY, OTHER, POLICY, REQUEST, SIDECAR, STATE, Agent, Plane, Signer

TRUSTED = {**TRUST, "execution": {"issuer": SIDECAR}}
USED = {"name": "in", "digest": {"sha256": "a" * 64}}
MADE = {"name": "out", "digest": {"sha256": "b" * 64}}


class Judge:
    """Workflows, as a test sets them. It allows the steps of `order`, in that order."""

    def __init__(self, order):
        self.order = order
        self.refused = None

    def begin(self, body):
        if self.refused:
            raise self.refused
        return body.get("workflow")

    def step(self, workflow, done, step):
        if [*(one.name for one in done), step.name] != self.order[: len(done) + 1]:
            raise Denied(Reason.WORKFLOW_VIOLATED, f"{step.name} is not next")

    def end(self, workflow, done):
        if len(done) < len(self.order):
            raise Denied(Reason.WORKFLOW_VIOLATED, "steps are missing")


class World:
    """An agent with its journal, OPA and the lease."""

    def __init__(self, directory, judge=None, journal=True):
        self.plane = Plane()
        self.directory = directory
        self.judge = judge
        self.kept = journal
        self.redeemed = 0
        self.keys = ExecutionKeys(directory / "keys.json")
        self.asked = []
        self.trust = TRUSTED
        self.start = {**STARTS, "decision": {**ALLOW, **DECISION}, "expires_at_ns": 2_000_000_000 * 1_000_000_000}
        self.open()

    def open(self):
        """A new agent in the same directory."""
        self.keys.open()
        self.agent = Agent(self.directory / "private", self.plane, Signer(), self.judge).start()
        journal = self.agent.executions if self.kept else None
        self.running = Running(self.directory / "running.db", self.agent.ended, self.keys.renew, journal)
        self.running.open()
        self.keys.written(self.keys.public())
        self.executions = Executions(self.keys, lambda: self, lambda: self.trust, self.redeem, self.running, journal)
        self.steps = Steps(self.executions, journal)

    def redeem(self, *_):
        self.redeemed += 1

    def ask(self, path, request):
        self.asked.append(request)
        answered = {"result": self.start, "decision_id": f"d-{len(self.asked)}"}
        return Answer(200, json.dumps(answered).encode())

    def begin(self, execution=ID, workflow=None, **more):
        return self.executions.start({**REQUEST, "execution": {"id": execution}, **more}, workflow)

    def token(self, execution=ID, workflow=None):
        return self.begin(execution, workflow).execution["token"]

    def step(self, token, execution=ID, **more):
        return self.steps.step(execution, {"token": token, "step": {"name": "build", **more}})

    def end(self, token, outcome="completed", execution=ID):
        return self.steps.end(execution, {"token": token, "outcome": outcome})


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def codes(outcome):
    assert outcome.execution is None
    return [reason["code"] for reason in outcome.decision["reasons"]]


def refused(call, *arguments, **named):
    with pytest.raises(NotAdmitted) as refusal:
        call(*arguments, **named)
    return codes(refusal.value.outcome)


def test_what_is_noted(world):
    token = world.token()
    noted = world.step(
        token, command=["make", "-j2"], materials=[USED, USED], products=[MADE], decisions=["d-9", "d-8", "d-9"],
        parents=["sha256:" + "c" * 64], facts={"exit": "0"},
    )  # fmt: skip
    assert noted.describe(ID) == {"execution": ID, "number": "1", "steps": "1", "name": "build"}
    assert world.end(token) == "completed"
    world.agent.drain()
    start, step, end = world.plane.links
    assert [one.kind for one in world.plane.links] == [START, STEP, END]
    assert start.byproducts == {
        "execution": ID, "subject": {"issuer": "i", "id": "a"}, "action": "refund",
        "resource": {"type": "payment", "id": "p-1"}, "unresolved": ["d-1"],
    }  # fmt: skip
    digests = {one.name: one.digest for one in start.materials}
    assert digests == {"policy": POLICY, "library": LIBRARY, "state": STATE}
    assert step.command == ("make", "-j2")
    names = [one.name for one in step.materials]
    assert names == ["artifact/in", "link/execution/start", "link/parent"]
    assert [one.name for one in step.products] == ["artifact/out"]
    assert step.byproducts["unresolved"] == ["d-8", "d-9"]
    assert end.byproducts["steps"] == "1"


KEYED = {"key": "k-1", "materials": [USED], "products": [MADE], "decisions": ["d-9"], "facts": {"exit": "0"}}


def test_a_step_that_is_sent_again_under_its_key_is_the_same_step(world):
    token = world.token()
    first = world.step(token, **KEYED)
    assert world.step(token, **KEYED) == first
    assert world.step(token).steps == 2
    world.agent.kill()
    world.open()
    assert world.step(token, **KEYED) == first
    world.agent.drain()
    again = world.step(token, **KEYED)
    assert (again.number, again.steps) == (first.number, first.steps) and again.digest is not None
    world.agent.drain()
    assert [one.kind for one in world.plane.links] == [START, STEP, STEP]


@pytest.mark.parametrize(
    "change",
    [{"name": "test"}, {"materials": [MADE]}, {"products": []}, {"decisions": []}, {"facts": {}}, {"command": ["x"]},
     {"parents": ["sha256:" + "c" * 64]}],
)  # fmt: skip
def test_another_step_under_a_key_is_refused(world, change):
    token = world.token()
    world.step(token, **KEYED)
    with pytest.raises(BadRequest, match="the key k-1 is that of another step"):
        world.step(token, **KEYED | change)
    assert world.step(token, **KEYED | {"key": "k-2"}).steps == 2


def test_a_key_is_its_executions_own(world):
    one, two = world.token(), world.token(execution=OTHER)
    assert world.step(one, key="k").number == 2
    assert world.step(two, execution=OTHER, key="k").number == 3


@pytest.mark.parametrize("key", ["", "a b", "x" * 65, 7, "k\n"])
def test_a_key_has_the_form_of_a_name(world, key):
    with pytest.raises(BadRequest):
        world.step(world.token(), key=key)


def test_a_repeated_step_is_no_violation(tmp_path):
    world = World(tmp_path, Judge(["fetch", "build"]))
    token = world.token(workflow="release")
    for _ in range(2):
        world.step(token, name="fetch", key="1")
    world.step(token, name="build", key="2")
    world.end(token)
    assert world.agent.stops == 0


def test_a_journal_of_before_there_were_keys_is_gone_on_with(world):
    token = world.token()
    world.step(token)
    world.agent.kill()
    [file] = (world.directory / "private").rglob("*.db")
    with closing(sqlite3.connect(file)) as database:
        database.executescript("DROP TABLE step_key; PRAGMA user_version=1;")
    world.open()
    first = world.step(token, key="k")
    assert world.step(token, key="k") == first and first.steps == 2


def test_a_steps_digest_is_told_once_it_is_known(world):
    token = world.token()
    noted = world.step(token)
    assert world.steps.find(ID, "1", token).digest is None
    world.agent.drain()
    assert world.steps.find(ID, str(noted.number), token).digest == payload_digest(world.plane.payloads[1])
    world.end(token)
    assert world.steps.find(ID, "1", token).digest, "also after the end"
    assert [world.steps.find(ID, number, token) for number in ("0", "2", "x", "-1", "1" * 30, "\u0661")] == [None] * 6
    other = world.token(OTHER)
    assert world.steps.find(OTHER, "1", other) is None
    assert refused(world.steps.find, OTHER, "1", token) == ["execution.mismatch"]


def test_a_step_needs_what_a_renewal_needs(world):
    token = world.token()
    other = world.token(OTHER)
    assert refused(world.step, other) == ["execution.mismatch"]
    assert refused(world.step, token[:-6] + "AAAAAA") == ["execution.invalid"]
    assert refused(world.step, "junk") == ["execution.invalid"]
    world.trust = {**TRUSTED, "quarantine": {"executions": {ID: {}}, "subjects": {}, "domains": {}}}
    assert refused(world.step, token) == ["quarantine.execution"]
    world.trust = None
    assert refused(world.step, token) == refused(world.end, token) == ["lease.missing"]
    world.agent.drain()
    assert [link.kind for link in world.plane.links] == [START, START]


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"step": {"name": "x"}},
        {"token": "t"},
        {"token": 1, "step": {"name": "x"}},
        {"token": "t" * 20_000, "step": {"name": "x"}},
        {"token": "t", "step": {}},
        {"token": "t", "step": {"name": "a b"}},
        {"token": "t", "step": {"name": "x"}, "more": 1},
        {"token": "t", "step": {"name": "x", "more": 1}},
        {"token": "t", "step": {"name": "x", "command": "make"}},
        {"token": "t", "step": {"name": "x", "materials": [{"name": "a", "digest": {"sha512": "a" * 128}}]}},
        {"token": "t", "step": {"name": "x", "materials": [{"name": "a\n", "digest": {"sha256": "a" * 64}}]}},
        {"token": "t", "step": {"name": "x", "materials": [USED | {"name": f"{n}"} for n in range(65)]}},
        {"token": "t", "step": {"name": "x", "parents": ["a" * 64]}},
        {"token": "t", "step": {"name": "x", "decisions": ["d/1"]}},
        {"token": "t", "step": {"name": "x", "facts": {"a": 1}}},
        {"token": "t", "step": {"name": "x", "facts": {f"f{n}": "" for n in range(17)}}},
        {"token": "t", "step": {"name": "x", "facts": {"a": "x" * 1025}}},
    ],
)
def test_bad_input_is_one_line_and_asks_for_nothing(world, body):
    with pytest.raises(BadRequest) as error:
        world.steps.step(ID, body)
    assert "\n" not in str(error.value)
    for outcome in ("stopped", "", None):
        with pytest.raises(BadRequest):
            world.steps.end(ID, {"token": "t", "outcome": outcome})


@pytest.mark.parametrize("name", ["a\u202eb", "x" * 510])
def test_a_name_that_no_statement_can_hold(world, name):
    token = world.token()
    with pytest.raises(BadRequest):
        world.step(token, materials=[{"name": name, "digest": {"sha256": "a" * 64}}])
    with pytest.raises(BadRequest, match="one name for two things"):
        world.step(token, materials=[USED, {"name": "in", "digest": {"sha256": "c" * 64}}])


def test_after_an_end_there_is_nothing_more(world):
    token = world.token()
    world.step(token)
    world.end(token, "failed")
    assert refused(world.step, token) == refused(world.end, token) == ["execution.ended"]
    assert codes(world.executions.renew(ID, token)) == ["execution.ended"]
    asked = len(world.asked)
    assert codes(world.begin()) == ["execution.ended"]
    assert len(world.asked) == asked, "OPA is not asked in vain"
    assert world.agent.ended.named() == {ID: "failed"}
    world.agent.kill()
    world.open()
    assert world.agent.ended.named() == {ID: "failed"}, "a restart forgets no end"
    assert refused(world.step, token) == ["execution.ended"]
    world.agent.drain()
    assert world.plane.links[-1].byproducts["outcome"] == "failed"


def test_ends_are_named_in_the_trust_state_as_long_as_a_token_may_live(world, monkeypatch):
    world.end(world.token())
    now, ticks = time.time(), time.monotonic()
    monkeypatch.setattr(time, "time", lambda: now + 359)
    monkeypatch.setattr(time, "monotonic", lambda: ticks + 61)
    assert world.agent.ended.named() == {ID: "completed"}
    monkeypatch.setattr(time, "time", lambda: now + 361)
    monkeypatch.setattr(time, "monotonic", lambda: ticks + 62)
    assert world.agent.ended.named() == {ID: "completed"}, "each change is another trust state"
    monkeypatch.setattr(time, "monotonic", lambda: ticks + 200)
    assert world.agent.ended.named() == {}


def test_an_end_that_could_not_be_named_is_refused(world):
    token = world.token()
    world.agent.room = 4095
    assert refused(world.end, token) == ["lineage.unavailable"]
    assert world.step(token).steps == 1, "it goes on"
    world.agent.room = 5000
    assert world.end(token) == "completed"


def test_a_start_that_cannot_be_noted_gives_no_token(world, monkeypatch):
    def full(*_, **__):
        raise Denied(Reason.LINEAGE_UNAVAILABLE, "the journal cannot be written: disk full")

    with monkeypatch.context() as patched:
        patched.setattr(world.agent.journal, "add", full)
        assert codes(world.begin()) == ["lineage.unavailable"]
    assert world.begin().execution
    world.agent.drain()
    assert [link.byproducts["unresolved"] for link in world.plane.links] == [["d-3"]]  # d-2 is the refusal's record


def test_a_decision_that_names_no_bundle_starts_nothing(world):
    world.start = {**world.start, "decision": {**ALLOW, **DECISION, "bundles": {}}}
    assert codes(world.begin()) == ["decision.malformed"]


def test_an_action_that_no_statement_can_hold_starts_nothing(world):
    assert codes(world.begin(action={"name": "x" * 20_000})) == ["request.malformed"]


def test_without_a_journal_executions_start_and_have_no_steps(tmp_path):
    world = World(tmp_path, journal=False)
    token = world.token()
    assert world.executions.renew(ID, token).execution
    assert refused(world.step, token) == refused(world.end, token) == ["lineage.unavailable"]
    assert refused(world.steps.find, ID, "0", token) == ["lineage.unavailable"]
    assert codes(world.begin(OTHER, "pay-out")) == ["lineage.unavailable"]


def test_an_execution_that_began_without_the_journal_has_no_steps(world):
    token = world.token()
    with world.agent.journal.transaction() as database:
        database.execute("DELETE FROM execution")
    assert world.executions.renew(ID, token).execution
    assert refused(world.step, token) == ["lineage.unavailable"]


# Workflows.


def test_a_workflow_that_is_kept_to(tmp_path):
    world = World(tmp_path, Judge(["fetch", "build"]))
    token = world.token(workflow="release")
    assert world.asked[0]["execution"] == {"id": ID, "workflow": "release"}
    claims = world.keys.verify(token, SIDECAR, TRUST["audience"])
    assert claims["workflow"] == "release"
    world.step(token, name="fetch")
    world.agent.kill()
    world.open()
    world.step(token, name="build")
    world.end(token)
    world.agent.drain()
    assert world.plane.links[0].byproducts["workflow"] == "release"
    assert world.agent.stops == 0


@pytest.mark.parametrize("restart", [False, True])
def test_whoever_leaves_the_workflow_is_stopped(tmp_path, restart):
    world = World(tmp_path, Judge(["fetch", "build"]))
    token = world.token(workflow="release")
    world.step(token, name="fetch")
    assert refused(world.step, token, name="deploy") == ["workflow.violated"]
    assert world.agent.stops == 1, "OPA hears of it at once"
    if restart:
        world.agent.kill()
        world.open()
    assert world.agent.ended.named() == {ID: "stopped"}
    assert refused(world.step, token, name="build") == ["execution.ended"]
    assert codes(world.executions.renew(ID, token)) == ["execution.ended"]
    world.agent.drain()
    end = world.plane.links[-1]
    assert (end.kind, end.byproducts["outcome"], end.byproducts["reason"]) == (END, "stopped", "workflow.violated")
    assert [link.kind for link in world.plane.links] == [START, STEP, END]


def test_an_end_before_the_workflows_is_a_violation_and_a_failure_is_none(tmp_path):
    world = World(tmp_path, Judge(["fetch"]))
    first, second = world.token(workflow="release"), world.token(OTHER, "release")
    assert refused(world.end, first) == ["workflow.violated"]
    assert world.end(second, "failed", OTHER) == "failed"
    assert world.agent.ended.named() == {ID: "stopped", OTHER: "failed"}


def test_what_is_stopped_is_denied_even_when_that_cannot_be_written(tmp_path, monkeypatch):
    world = World(tmp_path, Judge(["fetch"]))
    token = world.token(workflow="release")
    world.agent.room = 0
    add = world.agent.journal.add

    def full(database, draft, **more):
        if draft.kind == END:
            raise Denied(Reason.LINEAGE_UNAVAILABLE, "disk full")
        return add(database, draft, **more)

    monkeypatch.setattr(world.agent.journal, "add", full)
    assert refused(world.step, token, name="deploy") == ["workflow.violated"]
    assert (world.agent.ended.named(), world.agent.stops) == ({ID: "stopped"}, 1)
    assert refused(world.step, token, name="fetch") == ["execution.ended"]
    with pytest.raises(Denied):
        world.agent.executions.write_left()
    monkeypatch.undo()
    world.agent.executions.write_left()
    world.agent.drain()
    assert world.plane.links[-1].byproducts["outcome"] == "stopped"


def test_a_workflow_that_refuses_a_start_costs_no_use(tmp_path):
    world = World(tmp_path, Judge([]))
    world.start = {**world.start, "claims": {**CLAIMS, "warrants": ["w-1"]}, "redeem": [REDEEM]}
    world.judge.refused = Denied(Reason.WORKFLOW_REQUIRED, "pay-out needs one")
    assert codes(world.begin()) == ["workflow.required"]
    assert world.redeemed == 0
    world.judge.refused = None
    assert world.begin().execution
    assert world.redeemed == 1
    assert codes(world.begin(workflow="another")) == ["execution.conflict"]


def test_a_workflow_that_nobody_judges_is_none(world):
    assert codes(world.begin(workflow="release")) == ["workflow.required"]
