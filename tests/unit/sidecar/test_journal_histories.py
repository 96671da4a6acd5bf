"""Any history of starts, steps, ends, cuts, crashes and failing services: the control plane holds what was answered."""

import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.core.errors import Denied
from app.core.link_names import END, START, STEP, payload_digest
from app.core.reason_codes import Reason
from app.sidecar.control_plane import NotAccepted
from app.sidecar.journal import Leaf

from .journal_kit import SIDECAR, Agent, Plane, Signer

FILE = "00000001-0000000000000001.log"
EXECUTIONS = st.sampled_from(["execution-number-1", "execution-number-2", "execution-number-3"])


class Histories(RuleBasedStateMachine):
    """One journal, against a list of what was answered."""

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.plane, self.signer = Plane(), Signer()
        self.answered = []
        self.steps = {}
        self.ended = set()
        #: Decisions in the record file, in order, and how many of them are in batches.
        self.records, self.cut_to = [], 0
        self.open()

    def open(self):
        self.agent = Agent(self.directory / "private", self.plane, self.signer).start()
        self.tell(self.cut_to)

    def tell(self, upto):
        """The cutter tells the last batch again after a crash."""
        leaves = [Leaf(name, of, sha256(name.encode()).digest()) for name, of in self.records[:upto]]
        self.agent.journal.recorded((FILE, upto), leaves)

    def decide(self, execution):
        name = f"d-{len(self.records)}"
        self.records.append((name, execution))
        self.agent.seen = (FILE, len(self.records))
        return name

    @rule(execution=EXECUTIONS)
    def start(self, execution):
        decision = self.decide(execution)
        if execution in self.ended:
            with pytest.raises(Denied) as denied:
                self.agent.begin(execution, decision)
            assert denied.value.reason == Reason.EXECUTION_ENDED
            return
        self.agent.begin(execution, decision)
        self.answered.append((START, execution, decision))
        self.steps.setdefault(execution, 0)

    @rule(execution=EXECUTIONS, recorded=st.booleans())
    def step(self, execution, recorded):
        decision = self.decide(execution) if recorded else f"lost-{len(self.answered)}"
        self.agent.seen = (FILE, len(self.records))
        if execution not in self.steps or execution in self.ended:
            with pytest.raises(Denied):
                self.agent.step(execution=execution, decisions=[decision])
            return
        noted = self.agent.step(execution=execution, decisions=[decision])
        self.steps[execution] += 1
        assert noted.steps == self.steps[execution]
        assert noted.number == len(self.answered)
        self.answered.append((STEP, execution, decision))

    @rule(execution=EXECUTIONS)
    def end(self, execution):
        if execution in self.steps and execution not in self.ended:
            self.agent.executions.end(execution, SIDECAR, "completed")
            self.answered.append((END, execution, None))
            self.ended.add(execution)

    @rule(part=st.integers(0, 3))
    def cut(self, part):
        self.cut_to = min(len(self.records), self.cut_to + part)
        self.tell(self.cut_to)

    @rule(fails=st.sampled_from(["nothing", "before", "after", "signer"]))
    def ship(self, fails):
        def unanswered():
            raise NotAccepted("nobody answers")

        self.agent.shipping._standing._pause.end()
        self.plane.before = unanswered if fails == "before" else lambda: None
        self.plane.after = unanswered if fails == "after" else lambda: None
        self.signer.fail = unanswered if fails == "signer" else lambda: None
        self.agent.drain()

    @rule()
    def crash(self):
        self.agent.kill()
        self.open()

    @invariant()
    def what_is_held_is_a_beginning_of_what_was_answered(self):
        links = self.plane.links
        held = [(link.kind, link.execution) for link in links]
        assert held == [one[:2] for one in self.answered[: len(held)]]
        digests = [payload_digest(payload) for payload in self.plane.payloads]
        assert [link.previous for link in links] == [None, *digests[:-1]][: len(links)]
        last = {}
        for link, digest in zip(links, digests, strict=True):
            assert link.before == last.get(link.execution)
            last[link.execution] = digest
        assert self.agent.reasons() == []

    def teardown(self):
        self.cut(len(self.records))
        for _ in range(2):  # what could not be signed is told first, and signed the next time
            self.ship("nothing")
        assert len(self.plane.links) == len(self.answered)
        recorded = {name for name, _ in self.records}
        for link, (_, _, decision) in zip(self.plane.links, self.answered, strict=True):
            if decision in recorded:
                assert link.decisions == {decision: f"sha256:{sha256(decision.encode()).hexdigest()}"}
            elif decision is not None:
                assert link.byproducts["unresolved"] == [decision]
        self.agent.kill()
        shutil.rmtree(self.directory)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
