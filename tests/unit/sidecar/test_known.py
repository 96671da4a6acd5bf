"""How old metadata is, whatever the wall clock says."""

import time

import pytest

from app.core.targets import ChannelPointer
from app.sidecar import metadata_watcher
from app.sidecar.metadata import Snapshot
from app.sidecar.metadata_watcher import Known
from app.sidecar.trust_state import from_published
from tests.unit.sidecar import published

POINTER = ChannelPointer(system="s", channel="c", sequence=1, release="sha256:" + "0" * 64, horizon_seconds=60)


@pytest.fixture
def known(monkeypatch):
    """Accepted at the age of 5 s, on clocks that `move` moves."""
    wall, boot = [1000.0], [50.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(metadata_watcher, "boot_seconds", lambda: boot[0])
    snapshot = Snapshot(POINTER, published.state(), published.governance(), 995.0)
    found = Known(snapshot, from_published(snapshot.state, snapshot.governance), 5.0, 50.0)

    def move(by_wall, by_boot):
        wall[0] += by_wall
        boot[0] += by_boot
        return found

    return move


def test_age_counts_from_the_time_of_issue(known):
    assert known(10, 10).age() == 15
    assert known(0, 0).left() == 45


def test_a_wall_clock_set_back_does_not_make_it_younger(known):
    assert known(-3600, 60).age() == 65
    assert known(0, 0).left() == -5


def test_a_wall_clock_set_ahead_makes_it_older(known):
    assert known(100, 1).left() == -45
