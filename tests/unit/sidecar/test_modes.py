from datetime import UTC, datetime

import pytest

from app.core.errors import Denied
from app.core.governance import SignedMode
from app.core.modes import Mode, Subject
from app.core.reason_codes import Reason
from app.core.verification_policy import SignerIdentity
from app.sidecar import modes as sidecar_modes
from app.sidecar.modes import Modes, as_reported, as_trusted
from tests.unit.sidecar.published import AUDIENCE, governance

NS = 1_000_000_000


def mode(name, kind="shadow", begins=1000, until=2000, **more):
    times = (datetime.fromtimestamp(at, tz=UTC) for at in (begins, until))
    scope = {"subjects": (), "actions": (), "resources": (), "signers": (), **more}
    return Mode(kind, name, "because", *times, **scope)


GLASS = mode(
    "b",
    "break-glass",
    subjects=(Subject(issuer="i", id="oncall"),),
    actions=("restart*",),
    resources=("host/*",),
    signers=(SignerIdentity(identity="a@x", issuer="i"), SignerIdentity(identity="b@x", issuer="i")),
)


class World:
    def __init__(self):
        self.known = {}
        self.verified = []
        self.modes = Modes(self.verify)

    def verify(self, evidence, audience):
        assert audience == AUDIENCE
        self.verified.append(evidence[0])
        found = self.known.get(evidence[0])
        if found is None:
            raise Denied(Reason.MODE_INVALID, f"{evidence[0]} is not signed by those who may")
        return found

    def declare(self, *evidence, kind="shadow"):
        self.modes.update(governance(modes=[SignedMode(kind=kind, evidence=[one]) for one in evidence]))


@pytest.fixture
def world():
    return World()


def names(modes):
    return [mode.id for mode in modes]


def test_a_mode_is_in_force_between_its_beginning_and_its_end(world):
    world.known["s"] = mode("s")
    world.declare("s")
    found = {at: names(world.modes.in_force(at)) for at in (1000 * NS - 1, 1000 * NS, 2000 * NS - 1, 2000 * NS)}
    assert list(found.values()) == [[], ["s"], ["s"], []]


def test_what_does_not_verify_has_no_effect_and_is_said(world):
    world.known["good"] = mode("good")
    world.declare("bad", "good")
    assert names(world.modes.in_force(1500 * NS)) == ["good"]
    [failure] = world.modes.failures()
    assert (failure.reason, failure.detail) == (Reason.MODE_INVALID, "bad is not signed by those who may")


def test_published_as_another_kind_than_signed(world):
    world.known["s"] = mode("s")
    world.declare("s", kind="break-glass")
    assert world.modes.in_force(1500 * NS) == []
    assert "signed as shadow" in world.modes.failures()[0].detail


def test_a_withdrawn_mode_ends_at_once(world):
    world.known["s"] = mode("s")
    world.declare("s")
    world.declare()
    assert world.modes.in_force(1500 * NS) == []
    assert world.modes.failures() == []


def test_each_is_verified_once_and_a_failure_again_after_a_while(world, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(sidecar_modes, "boot_seconds", lambda: now[0])
    world.known["good"] = mode("good")
    for _ in range(3):
        world.declare("good", "bad")
    assert world.verified == ["good", "bad"]
    now[0] += 61
    world.known["bad"] = mode("late")
    world.declare("good", "bad")
    assert world.verified == ["good", "bad", "bad"]
    assert names(world.modes.in_force(1500 * NS)) == ["good", "late"]


def test_the_form_that_the_library_reads():
    assert as_trusted([mode("s"), GLASS]) == {
        "shadow": [{"id": "s", "from_ns": 1000 * NS, "until_ns": 2000 * NS}],
        "break_glass": [
            {
                "id": "b",
                "from_ns": 1000 * NS,
                "until_ns": 2000 * NS,
                "subjects": [{"issuer": "i", "id": "oncall"}],
                "actions": ["restart*"],
                "resources": ["host/*"],
                "reason": "because",
                "by": ["a@x", "b@x"],
            }
        ],
    }
    assert as_trusted([]) == {"shadow": [], "break_glass": []}
    assert as_reported([GLASS]) == [{"kind": "break-glass", "id": "b", "until": "1970-01-01T00:33:20+00:00"}]


def test_beginning_and_end_are_logged(world, caplog):
    world.known["s"] = mode("s")
    world.declare("s")
    for at in (500, 1500, 1600, 2500, 2600):
        world.modes.in_force(at * NS)
    assert [record.getMessage() for record in caplog.records] == [
        "shadow s is in force until 1970-01-01T00:33:20+00:00: because",
        "the mode s is over",
    ]
