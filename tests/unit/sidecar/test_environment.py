from datetime import UTC, datetime

import jwt
import pytest

from app.core.reason_codes import Reason
from app.sidecar import environment
from app.sidecar.control_plane import NotAccepted
from app.sidecar.environment import Environment, Expected

SIDECAR, AUDIENCE = "spiffe://example.org/sidecar/payments/one", "spiffe://example.org/system/payments"
NOW = 1_800_000_000.0


def result(typ="ear+jwt", **changes):
    claims = {
        "iss": "spiffe://example.org/control-plane",
        "sub": SIDECAR,
        "sub_id": {"format": "iss_sub", "iss": "x", "sub": SIDECAR},
        "aud": AUDIENCE,
        "exp": int(NOW) + 600,
    } | changes
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None}, "k" * 32, headers={"typ": typ}
    )


def answer(token=None, seconds=600, **changes):
    ends = datetime.fromtimestamp(NOW + seconds, tz=UTC).isoformat()
    return {"result": token or result(), "expires_at": ends, "refresh_after_seconds": 300, **changes}


class World:
    def __init__(self):
        self.answers = []
        self.sent = []
        self.changes = 0
        self.expected = Expected(SIDECAR, AUDIENCE)
        self.environment = Environment(lambda: [{"type": "token", "token": "t"}], self.attest, self.ask, self.changed)

    def ask(self):
        return self.expected

    def changed(self):
        self.changes += 1

    def attest(self, evidence):
        self.sent.append(evidence)
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(environment.time, "time", lambda: NOW)
    return World()


def test_a_result_is_held_until_it_expires(world):
    token = result()
    world.answers = [answer(token)]
    assert world.environment.step() == 300
    assert world.sent == [[{"type": "token", "token": "t"}]]
    assert world.environment.results(NOW) == (token,)
    assert world.environment.results(NOW + 601) == ()
    assert (world.changes, world.environment.failure) == (1, None)


def test_it_is_refreshed_before_it_expires_whatever_is_said(world):
    world.answers = [
        answer(refresh_after_seconds=10_000),
        answer(refresh_after_seconds=-5),
        answer(refresh_after_seconds=None),
        answer(refresh_after_seconds=True),
    ]
    waits = [world.environment.step() for _ in range(4)]
    assert waits[0] == pytest.approx(450, abs=5)
    assert waits[1] == 1
    assert waits[2:] == [pytest.approx(300, abs=5)] * 2


def test_nobody_is_asked_before_it_is_known_what_to_expect(world):
    world.expected = None
    assert world.environment.step() == 1
    assert world.sent == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"result": None},
        {"result": ""},
        answer("junk"),
        answer("x" * 9000),
        answer(result("JWT")),
        answer(result(sub="spiffe://example.org/sidecar/payments/two")),
        answer(result(sub_id=None)),
        answer(result(sub_id={"sub": "spiffe://example.org/sidecar/payments/two"})),
        answer(result(aud="spiffe://example.org/system/other")),
        answer(result(aud=None)),
        answer(result(exp=None)),
        answer(result(exp=int(NOW) - 1)),
        answer(result(exp=True)),
        answer(expires_at="soon"),
        answer(expires_at=None),
        answer(seconds=700),
    ],
)
def test_a_result_of_another_form_is_not_taken(world, said):
    world.answers = [said]
    assert world.environment.step() == 1
    assert world.environment.results(NOW) == ()
    assert world.environment.failure.reason == Reason.ENVIRONMENT_UNAVAILABLE
    assert world.changes == 0


def test_without_an_answer_the_last_result_stands_and_tries_get_rarer(world):
    token = result()
    world.answers = [answer(token), *[NotAccepted("does not answer")] * 8, answer()]
    world.environment.step()
    assert [world.environment.step() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert world.environment.results(NOW) == (token,)
    assert world.environment.failure.detail == "does not answer"
    assert world.environment.step() == 300
    assert world.environment.failure is None
    world.answers = [NotAccepted("again")]
    assert world.environment.step() == 1


def test_refused_evidence_ends_the_last_result(world):
    world.answers = [answer(), NotAccepted("revoked", Reason.ENVIRONMENT_REFUSED)]
    world.environment.step()
    world.environment.step()
    assert world.environment.results(NOW) == ()
    assert world.changes == 2
