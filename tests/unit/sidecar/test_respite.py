"""A break that the system bears for a time: the sidecar goes on so long and no longer, whoever it hears of."""

import json
import math

import pytest

from app.core.reason_codes import Reason
from app.sidecar import breaks, control_plane
from app.sidecar import doubts as doubts_module
from app.sidecar.breaks import Standing
from app.sidecar.control_plane import ControlPlane, NotAccepted, Respite
from app.sidecar.doubts import Doubt, Doubts
from app.sidecar.failures import Failures

CONCERN = "lineage"
ALL = frozenset({Reason.BATCH_GAP, Reason.LINEAGE_BROKEN})


@pytest.fixture
def clock(monkeypatch):
    """The boot clock, in the test's hand."""
    now = [1000.0]
    for module in (doubts_module, breaks, control_plane):
        monkeypatch.setattr(module, "boot_seconds", lambda: now[0])
    return now


@pytest.fixture
def doubts(clock):
    return Doubts({CONCERN: math.inf}, lambda: None)


@pytest.fixture
def begin(tmp_path, doubts):
    """A new agent in the same directory."""

    def begin():
        standing = Standing(tmp_path / "break.json", ALL, CONCERN, "shipping", doubts, Failures())
        standing.vouch()
        return standing

    return begin


def refuse(standing, reason=Reason.BATCH_GAP, respite=None):
    standing.note_break(NotAccepted(f"status 409: {reason}", reason, respite))
    standing.vouch()


def reasons(doubts):
    return [one.reason for one in doubts.current()]


def test_it_goes_on_for_the_time_and_stops_though_nobody_looks(clock, doubts, begin):
    standing = begin()
    refuse(standing, respite=Respite(7, 1010.0))
    assert (reasons(doubts), doubts.left()) == ([], 10.0)
    assert standing.stops_at() is not None
    clock[0] = 1009.9
    assert reasons(doubts) == []
    clock[0] = 1010.0  # nothing was called meanwhile, as when a shipment hangs
    assert reasons(doubts) == [Reason.BATCH_GAP]
    assert standing.stops_at() is None
    standing.vouch()
    assert reasons(doubts) == [Reason.BATCH_GAP]


def test_what_is_told_later_of_the_same_break_gives_no_more_time(clock, doubts, begin):
    standing = begin()
    refuse(standing, respite=Respite(7, 1010.0))
    refuse(standing, respite=Respite(7, 1500.0))
    assert doubts.left() == 10.0
    refuse(standing, respite=Respite(7, 1005.0))
    assert doubts.left() == 5.0
    clock[0] = 1006.0
    refuse(standing, respite=Respite(7, 1500.0))
    assert reasons(doubts) == [Reason.BATCH_GAP]
    refuse(standing, respite=Respite(8, 1500.0))  # a person cleared the first
    assert reasons(doubts) == []


def test_a_refusal_without_a_time_stops_it_at_once(doubts, begin):
    standing = begin()
    refuse(standing, respite=Respite(7, 1010.0))
    refuse(standing, Reason.LINEAGE_BROKEN)
    assert reasons(doubts) == [Reason.BATCH_GAP]
    refuse(standing, respite=Respite(7, 1010.0))
    assert reasons(doubts) == [Reason.BATCH_GAP]
    standing.heal()
    standing.vouch()
    assert (reasons(doubts), doubts.left()) == ([], math.inf)


def test_a_new_agent_has_no_time_until_it_is_told(doubts, begin):
    refuse(begin(), respite=Respite(7, 1010.0))
    standing = begin()
    assert reasons(doubts) == [Reason.BATCH_GAP]
    refuse(standing, respite=Respite(7, 1008.0))
    assert reasons(doubts) == []


def test_what_a_report_is_answered_counts_as_well(clock, doubts, begin):
    standing = begin()
    for respite in (Respite(7, 1010.0), Respite(7, 1400.0)):
        standing.bear(respite)
        standing.vouch()
        assert doubts.left() == 10.0
    clock[0] = 1011.0  # nobody answers any more
    assert reasons(doubts) == [Reason.LINEAGE_BROKEN]
    standing.bear(Respite(9, 1020.0))
    standing.vouch()
    assert (reasons(doubts), doubts.left()) == ([], 9.0)
    standing.bear(None)
    standing.vouch()
    assert doubts.left() == math.inf


def test_a_vouch_that_is_renewed_says_anew_until_when(clock, doubts):
    doubts.vouch(CONCERN, 1005.0, Doubt(CONCERN, Reason.LINEAGE_BROKEN, "x"))
    doubts.prolong(CONCERN)
    assert doubts.left() == 5.0
    doubts.vouch(CONCERN)
    clock[0] = 2000.0
    assert reasons(doubts) == []


class Answers:
    """In place of the HTTP client: one answer, that takes three seconds."""

    def __init__(self, status, document, clock):
        self.status, self.document, self.clock = status, document, clock

    def borrow(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def stream(self, *_, **__):
        return self

    @property
    def status_code(self):
        return self.status

    @property
    def is_success(self):
        return self.status < 300

    def iter_bytes(self):
        self.clock[0] += 3
        yield json.dumps(self.document).encode()


def plane(status, document, clock):
    made = object.__new__(ControlPlane)
    made._clients, made._name, made._instance = Answers(status, document, clock), "one", "i1"
    return made


def test_the_time_counts_from_the_question(clock):
    answer = {"reason": "batch.gap", "detail": "x", "break": 7, "stops_in_seconds": 10}
    with pytest.raises(NotAccepted) as refused:
        plane(409, answer, clock).ship_link(b"{}")
    assert refused.value.respite == Respite(7, 1010.0)
    told = {"received_at": "x", "lineage": {"break": 7, "stops_in_seconds": 10}}
    assert plane(200, told, clock).report({}) == Respite(7, 1013.0)
    assert plane(200, told | {"lineage": None}, clock).report({}) is None


@pytest.mark.parametrize(
    "said",
    [{}, {"break": 7}, {"break": 7, "stops_in_seconds": -1}, {"break": 7, "stops_in_seconds": 1e99}, {"break": "7"},
     {"break": True, "stops_in_seconds": 9}, {"break": 7, "stops_in_seconds": 8 * 86400}],
)  # fmt: skip
def test_what_cannot_be_read_gives_no_time(clock, said):
    with pytest.raises(NotAccepted) as refused:
        plane(409, {"reason": "batch.gap", "detail": "x", **said}, clock).ship_link(b"{}")
    assert (refused.value.reason, refused.value.respite) == (Reason.BATCH_GAP, None)
    with pytest.raises(NotAccepted) as refused:
        plane(200, {"lineage": said}, clock).report({})
    assert refused.value.reason == Reason.LINEAGE_BROKEN


@pytest.mark.parametrize("said", [{}, {"lineage": None}, {"status": "ok"}])
def test_an_answer_of_nobody_who_knows_ends_no_break(clock, said):
    with pytest.raises(NotAccepted) as refused:
        plane(200, said, clock).report({})
    assert (refused.value.reason, refused.value.refused) == (None, False)
