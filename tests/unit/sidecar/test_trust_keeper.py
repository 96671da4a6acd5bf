import json

import pytest

from app.core.errors import Denied
from app.core.targets import ChannelPointer
from app.sidecar import trust_keeper
from app.sidecar.execution_keys import ExecutionKeys
from app.sidecar.metadata import Snapshot
from app.sidecar.metadata_watcher import Known
from app.sidecar.modes import Modes
from app.sidecar.opa_api import encoded
from app.sidecar.trust_keeper import TrustKeeper
from app.sidecar.trust_state import from_published
from tests.unit.sidecar import published
from tests.unit.sidecar.test_modes import GLASS, World

POINTER = ChannelPointer(system="payments", channel="c", sequence=1, release="sha256:" + "0" * 64, horizon_seconds=60)


def known(**more):
    state, governance = published.state(published.issuer(), **more), published.governance()
    return Known(Snapshot(POINTER, state, governance, 0.0), from_published(state, governance), 0.0, 0.0)


class Results:
    """An environment's results, as a test sets them."""

    held = ()

    def results(self, now):
        return self.held


@pytest.fixture
def keys(tmp_path):
    keys = ExecutionKeys(tmp_path / "keys.json")
    keys.open()
    return keys


@pytest.fixture
def modes():
    return World()


@pytest.fixture
def environment():
    return Results()


@pytest.fixture
def keeper(tmp_path, keys, modes, environment):
    (tmp_path / "states").mkdir()
    return TrustKeeper(tmp_path / "states", "one", keys, modes.modes, environment)


def test_what_the_sidecar_adds(keeper, keys, environment):
    environment.held = ("a.b.c",)
    trust = keeper.current(known()).trust
    assert trust["execution"]["issuer"] == "spiffe://example.org/sidecar/payments/one"
    assert trust["execution"]["keys"] == keys.public()
    assert set(trust["execution"]["headers"].values()) == set(keys.public())
    assert trust["environment"]["results"] == ["a.b.c"]
    assert trust["modes"] == {"shadow": [], "break_glass": []}


def test_the_digest_changes_with_what_it_holds_and_each_is_archived(keeper, tmp_path, environment):
    same = known()
    first = keeper.current(same)
    assert keeper.current(same) is first
    environment.held = ("a.b.c",)
    second = keeper.current(same)
    third = keeper.current(known(links=["partner.example"]))
    assert len({first.digest, second.digest, third.digest}) == 3
    kept = {f"sha256:{path.stem}": json.loads(path.read_bytes()) for path in (tmp_path / "states").iterdir()}
    assert kept == {one.digest: one.trust for one in (first, second, third)}


def test_a_key_signs_once_opa_holds_the_state(keeper, keys):
    state = keeper.current(known())
    with pytest.raises(Exception, match="OPA does not know"):
        keys.sign({})
    keeper.written(state)
    assert keys.sign({})


def test_modes_that_would_not_fit_are_left_out_and_said(keeper, modes, monkeypatch):
    monkeypatch.setattr(trust_keeper.time, "time_ns", lambda: 1500 * 10**9)
    modes.known["b"] = GLASS
    modes.declare("b", kind="break-glass")
    assert keeper.current(known()).trust["modes"]["break_glass"]
    assert keeper.failure is None
    monkeypatch.setattr(trust_keeper, "LOCAL_ROOM", 300)
    assert keeper.current(known()).trust["modes"] == {"shadow": [], "break_glass": []}
    assert keeper.failure.reason == "mode.invalid"


def test_without_modes_and_environment(tmp_path, keys):
    (tmp_path / "s").mkdir()
    keeper = TrustKeeper(tmp_path / "s", "one", keys, Modes(lambda *_: None), None)
    assert keeper.current(known()).trust["environment"]["results"] == []


def test_executions_that_have_ended_are_named_beside_those_in_quarantine(tmp_path, keys):
    ended = {}
    (tmp_path / "states").mkdir()
    keeper = TrustKeeper(tmp_path / "states", "one", keys, Modes(lambda *_: None), None, lambda: dict(ended))
    same = known()
    before = keeper.current(same)
    assert before.trust["quarantine"]["executions"] == {}
    room = keeper.room
    ended["an-execution-that-ended"] = "completed"
    after = keeper.current(same)
    assert after.trust["quarantine"]["executions"] == ended
    assert after.digest != before.digest
    assert keeper.room == room, "what they take already is part of it"
    assert same.published["quarantine"]["executions"] == {}
    ended.clear()
    assert keeper.current(same).digest == before.digest


def test_what_there_is_room_for_fits(tmp_path, keys):
    ended = {}
    (tmp_path / "states").mkdir()
    keeper = TrustKeeper(tmp_path / "states", "one", keys, Modes(lambda *_: None), None, lambda: dict(ended))
    keeper.current(known())
    room = keeper.room
    assert room > 16 * 1024
    while len(encoded(ended)) < room - 100:
        ended[f"execution-number-{len(ended):010d}"] = "completed"
    keeper.current(known())
    for number in range(20):
        ended[f"one-execution-more-{number:010d}"] = "completed"
    with pytest.raises(Denied, match="larger than OPA takes"):
        keeper.current(known())
