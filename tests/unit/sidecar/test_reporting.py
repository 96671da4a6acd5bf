"""What a sidecar is answered when it reports holds until it is answered otherwise, for the next agent too."""

import json
import math

import pytest

from app.core.errors import PlacetError
from app.core.files import write_atomically
from app.core.reason_codes import Reason
from app.sidecar import breaks, reporting, status
from app.sidecar.config import SidecarFiles
from app.sidecar.control_plane import NotAccepted, Respite
from app.sidecar.doubts import Doubts, boot_seconds
from app.sidecar.failures import Failures


class Agent:
    """As much of an agent as reports; `answers` are those of the control plane."""

    def __init__(self, files):
        self.files, self.answer = files, None
        self.doubts = Doubts({status.CONCERN: math.inf}, lambda: None)
        self.reporting = reporting.Reporting(files, self, self.doubts, Failures())
        self.reporting.open()

    def report(self, _):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def step(self, answer):
        self.answer = answer
        self.reporting.step(None)
        return self.reasons()

    def reasons(self):
        return [one.reason for one in self.doubts.current()]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(status, "reported", lambda _: {"at": "now"})
    monkeypatch.setattr(status, "local", lambda _: {"opa_pid": 7})
    files = SidecarFiles(tmp_path / "till")
    files.prepare()
    return files


def refusal(reason=None):
    return NotAccepted("status 409: no", reason)


def test_nobody_needs_to_answer_for_a_sidecar_to_go_on(files):
    agent = Agent(files)
    assert agent.reasons() == []
    assert agent.step(refusal()) == []
    assert agent.step(None) == []


@pytest.mark.parametrize("reason", [Reason.LINEAGE_BROKEN, Reason.SIDECAR_EVICTED])
def test_one_that_was_told_that_it_is_stopped_stays_so_over_a_restart(files, reason):
    agent = Agent(files)
    assert agent.step(refusal(reason)) == [reason]
    assert agent.step(refusal()) == [reason], "who does not answer takes nothing back"
    new = Agent(files)
    assert new.reasons() == [reason]
    assert new.step(refusal()) == [reason]
    assert new.step(None) == []
    assert Agent(files).reasons() == []


def test_one_that_is_borne_says_until_when_and_begins_without_a_lease(files):
    agent = Agent(files)
    respite = Respite(7, boot_seconds() + 60)
    assert agent.step(respite) == []
    assert agent.doubts.left() <= 60
    assert agent.step(refusal()) == []
    assert json.loads((files.root / "status.json").read_bytes())["lineage_stops_at"]
    new = Agent(files)
    assert new.reasons() == [Reason.LINEAGE_BROKEN]
    assert new.step(refusal()) == [Reason.LINEAGE_BROKEN]
    assert new.step(respite) == []
    assert new.step(Respite(7, boot_seconds() - 1)) == [Reason.LINEAGE_BROKEN]
    assert new.step(respite) == [Reason.LINEAGE_BROKEN]
    assert new.step(None) == []
    new.step(None)
    assert json.loads((files.root / "status.json").read_bytes())["lineage_stops_at"] is None


@pytest.mark.parametrize("full", [(reporting,), (breaks,), (reporting, breaks)])
@pytest.mark.parametrize("answer", [refusal(Reason.SIDECAR_EVICTED), refusal(Reason.LINEAGE_BROKEN), Respite(7, 0.0)])
def test_a_full_disk_keeps_nobody_from_hearing_that_it_is_stopped(files, monkeypatch, full, answer):
    agent = Agent(files)

    def fail(*_, **__):
        raise PlacetError("no space left")

    for module in full:
        monkeypatch.setattr(module, "write_atomically", fail)
    with pytest.raises(PlacetError, match="no space left"):
        agent.step(answer)
    assert agent.reasons() == [getattr(answer, "reason", Reason.LINEAGE_BROKEN)]
    for module in full:
        monkeypatch.setattr(module, "write_atomically", write_atomically)
    reasons = agent.step(answer)
    assert reasons
    assert Agent(files).reasons() == reasons, "it is kept as soon as there is room"
