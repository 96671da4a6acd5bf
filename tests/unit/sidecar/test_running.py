"""Executions that run, and trust states that stop them. With real parts: in test_stopped_executions.py."""

import sqlite3
import threading
import time

import pytest

from app.core.errors import Denied, PlacetError
from app.core.link_names import END
from app.core.reason_codes import Reason
from app.sidecar import footing, running
from app.sidecar.ended_executions import NAMED, EndedExecutions
from app.sidecar.execution_keys import LIFETIME
from app.sidecar.running import ABANDONED, Running
from tests.unit.sidecar.test_answers import CLAIMS
from tests.unit.sidecar.test_footing import NOW, TRUST, changed, token

from .journal_kit import ID, OTHER, SIDECAR, STATE, Agent, Plane, Signer

GONE = changed("issuers", "i", "keys", "k")
REQUEST = {"identity": {"token": token("k")}}
STATE_THEN = "sha256:" + "e" * 64


class World:
    """As much of an agent as knows its executions."""

    def __init__(self, directory, *, journal=True, room=100_000):
        self.directory, self.kept, self.room = directory, journal, room
        self.renewed = 0
        self.plane = Plane()
        self.open()

    def open(self):
        """A new agent in the same directory."""
        self.agent = Agent(self.directory / "private", self.plane, Signer()).start()
        self.agent.room = self.room
        journal = self.agent.executions if self.kept else None
        self.running = Running(self.directory / "running.db", self.agent.ended, self.renew, journal)
        self.running.open()

    def renew(self):
        self.renewed += 1

    def begin(self, execution=ID, expires=None, subject="a", **claims):
        claims = {**CLAIMS, "sub": subject, "principals": [["i", subject]], **claims}
        if self.kept:
            self.agent.begin(execution, claims=claims)
        held = footing.of(claims, REQUEST, TRUST)
        return self.hold(execution, held, expires or int(time.time()) + LIFETIME)

    def hold(self, execution, held, expires, trust=TRUST):
        return self.running.hold(execution, held, expires, trust, sign=lambda name: name)

    def arrives(self, trust, digest=STATE_THEN):
        self.running.judge(trust)
        named = self.agent.ended.named()
        self.running.noted(digest, SIDECAR)
        if self.kept:
            self.agent.executions.write_left()
        return named

    def ends(self):
        """Of those that ended, as the control plane was told."""
        self.agent.drain()
        return [link for link in self.plane.links if link.kind == END]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.renewed = 0
    return world


def test_what_rests_on_a_withdrawn_key_is_named_with_the_reason(world):
    name = world.begin()
    assert world.arrives(TRUST) == {}
    assert world.running.footing(ID, name)
    assert world.arrives(GONE) == {ID: "identity.key_unknown"}
    with pytest.raises(Denied) as denied:
        world.running.footing(ID, name)
    assert denied.value.reason == Reason.IDENTITY_KEY_UNKNOWN
    assert world.arrives(TRUST) == {ID: "identity.key_unknown"}, "for good"
    with pytest.raises(Denied, match="ended"):
        world.begin()
    assert world.renewed == 0


def test_one_that_is_stopped_before_its_start_is_noted_does_not_start(world):
    held = footing.of(CLAIMS, REQUEST, TRUST)
    world.hold(ID, held, int(time.time()) + LIFETIME)
    world.arrives(GONE)
    with pytest.raises(Denied) as denied:
        world.agent.begin(ID, claims=CLAIMS)
    assert denied.value.reason == Reason.EXECUTION_ENDED
    world.agent.drain()
    assert world.plane.links == [], "of a start that nothing ends"


def test_others_go_on(world):
    world.begin()
    world.begin(OTHER, subject="b")
    blamed = {**TRUST, "quarantine": {"subjects": {"i": {"a": {}}}, "executions": {}, "domains": {}}}
    assert world.arrives(blamed) == {ID: "quarantine.subject"}


def test_it_leaves_an_end_that_says_why_and_by_which_state(world):
    world.begin()
    world.arrives(GONE)
    [end] = world.ends()
    assert end.byproducts == {
        "execution": ID, "outcome": "stopped", "reason": "identity.key_unknown", "steps": "0"
    }  # fmt: skip
    assert {ref.name: ref.digest for ref in end.materials}["state"] == STATE_THEN
    world.arrives({**GONE})
    assert len(world.ends()) == 1


def test_one_that_quarantine_names_has_ended(world):
    world.begin()
    world.arrives({**TRUST, "quarantine": {"subjects": {}, "executions": {ID: {}}, "domains": {}}})
    [end] = world.ends()
    assert end.byproducts["reason"] == "quarantine.execution"


def test_what_ended_by_its_own_word_is_left_alone(world):
    world.begin()
    world.agent.executions.end(ID, SIDECAR, "completed")
    assert world.arrives(GONE) == {ID: "completed"}
    assert [end.byproducts["outcome"] for end in world.ends()] == ["completed"]


def test_every_footing_counts(world):
    world.begin()
    again = footing.of(
        CLAIMS, {"identity": {"token": token("newer")}}, changed("issuers", "i", "keys", to={"newer": {}})
    )
    both = changed("issuers", "i", "keys", to={**TRUST["issuers"]["i"]["keys"], "newer": {}})
    world.hold(ID, again, int(time.time()) + LIFETIME, both)
    assert world.arrives(both) == {}
    assert world.arrives(TRUST) == {ID: "identity.key_unknown"}


def test_one_that_grows_too_old_is_stopped_without_another_state(world, monkeypatch):
    monkeypatch.setattr(running.time, "time", lambda: NOW)
    world.begin()
    limited = {**TRUST, "max_identity_age_seconds": 60}
    assert world.arrives(limited) == {}
    monkeypatch.setattr(running.time, "time", lambda: NOW + 100)
    assert world.arrives(limited) == {ID: "identity.stale"}


def test_of_the_same_state_those_are_looked_at_again_that_grew_too_old(world, monkeypatch):
    monkeypatch.setattr(running.time, "time", lambda: NOW)
    limited = {**TRUST, "max_identity_age_seconds": 60}
    for execution, issued in ((ID, NOW), (OTHER, NOW + 50)):
        held = footing.of(CLAIMS, {"identity": {"token": token("k", iat=issued)}}, TRUST)
        world.hold(execution, held, NOW + LIFETIME)
    world.arrives(limited)
    looked_at = []
    monkeypatch.setattr(
        footing, "lost", lambda held, *more, lost=footing.lost: looked_at.append(held["issued"]) or lost(held, *more)
    )
    world.arrives(limited)
    assert looked_at == []
    monkeypatch.setattr(running.time, "time", lambda: NOW + 100)
    assert world.arrives(limited) == {ID: "identity.stale"}
    assert looked_at == [NOW]


def test_who_starts_does_not_wait_while_others_are_judged(world, monkeypatch):
    world.begin()
    judging, goes_on = threading.Event(), threading.Event()

    def slow(held, trust, now, lost=footing.lost):
        if threading.current_thread() is judge:
            judging.set()
            assert goes_on.wait(10)
        return lost(held, trust, now)

    monkeypatch.setattr(footing, "lost", slow)
    judge = threading.Thread(target=world.running.judge, args=(GONE,))
    judge.start()
    assert judging.wait(10)
    try:
        with pytest.raises(Denied) as denied:
            world.hold(OTHER, footing.of(CLAIMS, REQUEST, TRUST), NOW)
    finally:
        goes_on.set()
        judge.join(10)
    assert denied.value.reason == Reason.IDENTITY_KEY_UNKNOWN, "and is judged by the newest state"
    assert world.agent.ended.named() == {ID: "identity.key_unknown"}


def test_a_state_is_judged_again_that_could_not_be(world, monkeypatch):
    world.begin()
    with monkeypatch.context() as patched:
        patched.setattr(footing, "lost", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.running.judge(GONE)
    assert world.arrives(GONE) == {ID: "identity.key_unknown"}


@pytest.mark.parametrize("journal", [True, False])
def test_a_restart_forgets_nothing(tmp_path, journal):
    world = World(tmp_path, journal=journal)
    world.begin()
    world.begin(OTHER, warrants=["w-1"])
    world.arrives(TRUST)
    world.open()
    assert world.renewed == 1, "at the very first start alone"
    assert world.arrives(changed("warrant", "revoked", to={"w-1": {}})) == {OTHER: "warrant.revoked"}
    world.open()
    assert world.arrives(TRUST) == {OTHER: "warrant.revoked"}
    assert world.arrives(GONE) == {ID: "identity.key_unknown", OTHER: "warrant.revoked"}


def state_of(end):
    return {ref.name: ref.digest for ref in end.materials}.get("state")


def test_a_stop_that_was_not_noted_before_a_crash_is_noted_after_it_with_the_state_of_then(world):
    world.begin()
    world.running.judge(GONE)
    world.running.noted(STATE_THEN, SIDECAR)
    world.open()
    world.arrives(GONE, STATE)
    [end] = world.ends()
    assert (end.byproducts["reason"], state_of(end)) == ("identity.key_unknown", STATE_THEN)


def test_where_an_older_agent_did_not_keep_the_state_none_is_named(world):
    world.begin()
    world.running.judge(GONE)
    world.running.noted(STATE_THEN, SIDECAR)
    with sqlite3.connect(world.directory / "running.db") as database:
        database.executescript("ALTER TABLE held DROP COLUMN state; PRAGMA user_version=1;")
    world.open()
    world.begin(OTHER, warrants=["w-1"])
    world.arrives(changed("warrant", "revoked", to={"w-1": {}}), STATE)
    assert {end.execution: state_of(end) for end in world.ends()} == {ID: None, OTHER: STATE}


def test_what_cannot_be_kept_is_denied_all_the_same_and_kept_later(world, caplog):
    world.begin()
    locked = sqlite3.connect(world.directory / "running.db", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    world.running._file._database.execute("PRAGMA busy_timeout=10")
    assert world.arrives(GONE) == {ID: "identity.key_unknown"}
    assert "not kept yet" in caplog.text
    assert world.ends() == []
    locked.execute("ROLLBACK")
    locked.close()
    world.arrives(GONE, STATE)
    [end] = world.ends()
    assert state_of(end) == STATE_THEN, "the first state that said so"


def test_more_than_there_is_room_for_lose_every_token(tmp_path):
    world = World(tmp_path, journal=False, room=2000)
    world.renewed = 0
    for number in range(100):
        world.begin(f"execution-number-{number:03d}", subject=f"s{number}")
    assert world.arrives(GONE) == {}
    assert world.renewed == 1
    with pytest.raises(Denied) as denied:
        world.begin("execution-number-007", subject="s7")
    assert denied.value.reason == Reason.EXECUTION_ENDED


def test_one_that_nobody_ended_is_over_an_hour_after_its_last_token(world, monkeypatch):
    world.begin(expires=NOW + 10)
    world.begin(OTHER, expires=NOW + 10)
    world.hold(OTHER, footing.of(CLAIMS, REQUEST, TRUST), NOW + 10 + ABANDONED)
    for later in (NAMED + 60, ABANDONED - 60):
        passes(world, monkeypatch, later)
        assert world.ends() == []
    passes(world, monkeypatch, ABANDONED + 60)
    [end] = world.ends()
    assert (end.execution, end.byproducts["reason"], state_of(end)) == (ID, "execution.expired", None)
    passes(world, monkeypatch, ABANDONED + 61)
    passes(world, monkeypatch, ABANDONED + 62)
    assert len(world.ends()) == 1
    assert [one.execution for one in world.running._file.load()] == [OTHER]


def test_one_that_is_about_to_be_noted_as_over_does_not_start_again(world, monkeypatch):
    world.begin(expires=NOW + 10)
    with monkeypatch.context() as busy:
        busy.setattr(world.agent.executions, "write_left", lambda: None)
        passes(world, busy, ABANDONED + 60)
    with pytest.raises(Denied) as denied:
        world.begin()
    assert denied.value.reason == Reason.EXECUTION_ENDED, "its end would come while it runs, and nothing would stop it"
    world.agent.executions.write_left()
    assert [end.byproducts["reason"] for end in world.ends()] == ["execution.expired"]


def passes(world, monkeypatch, seconds):
    monkeypatch.setattr(running.time, "time", lambda: NOW + seconds)
    world.running._forgot = float("-inf")
    world.arrives(TRUST)


def test_without_a_journal_it_is_forgotten_when_no_token_is_about(tmp_path, monkeypatch):
    world = World(tmp_path, journal=False)
    world.begin(expires=NOW + 10)
    passes(world, monkeypatch, NAMED)
    assert world.running._file.load()
    passes(world, monkeypatch, NAMED + 11)
    assert world.running._file.load() == []


def test_without_the_file_earlier_tokens_are_good_no_more(tmp_path):
    world = World(tmp_path, journal=False)
    world.begin()
    world.running._file.close()
    for path in tmp_path.glob("running.db*"):
        path.unlink()
    world.open()
    assert world.renewed == 2


def test_a_new_file_is_new_until_earlier_tokens_are_good_no_more(tmp_path):
    renewals = []

    def fails():
        renewals.append("failed")
        raise PlacetError("the disk is full")

    def opened(renew):
        Running(tmp_path / "running.db", EndedExecutions(lambda: 0), renew).open()

    for _ in range(2):
        with pytest.raises(PlacetError, match="disk is full"):
            opened(fails)
    opened(lambda: renewals.append("done"))
    opened(fails)
    assert renewals == ["failed", "failed", "done"]


def test_a_damaged_file_is_not_gone_on_with(tmp_path):
    path = tmp_path / "running.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(PlacetError, match="started anew"):
        Running(path, EndedExecutions(lambda: 0), lambda: None).open()
    with pytest.raises(PlacetError, match="cannot use"):
        Running(tmp_path / "none" / "x.db", EndedExecutions(lambda: 0), lambda: None).open()
