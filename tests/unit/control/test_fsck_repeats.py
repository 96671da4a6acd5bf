"""fsck names decisions that a sidecar sent twice, where no break says so: as an older control plane took them."""

import pytest

from app.control import judgement
from app.control.fsck import Scope

from .batch_kit import Chain
from .conftest import record
from .test_fsck import Stand
from .test_judgement import breaks
from .test_repeats import several


@pytest.fixture
def plane(signed_plane):
    return signed_plane


def send(api, chain, raw):
    assert chain.send(api, chain.next(raw)).status_code == 200


def repeats(stand, **options):
    return [(one.table, one.row, one.found, one.detail) for one in stand.found(**options) if one.kind == "repeat"]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_decisions_that_were_sent_twice_are_named_by_their_batches(api, plane, installed, monkeypatch):
    api.create_system("payments")
    stand, chain, other = Stand(installed.directory), Chain(), Chain("two")
    send(api, chain, several(range(10)))
    send(api, chain, several(range(10, 20)))
    send(api, other, several(range(20)))  # of another sidecar they are others
    send(api, chain, record(None) + record(None))  # so may be what has no id
    assert repeats(stand) == []
    with monkeypatch.context() as before:
        before.setattr(judgement, "_repeated", lambda *_: iter(()))
        send(api, chain, several([20, 21, 4, 22, 15, 23, 17, 24]))
        send(api, chain, several([25, 26, 27, 26]))
    found = [
        ("batch", 5, "d4", "decision d4 is in batch 1 of the same sidecar, too"),
        ("batch", 5, "d15", "2 decisions, d15 among them, are in batch 2 of the same sidecar, too"),
        ("batch", 6, "d26", "decision d26 is in it twice"),
    ]
    assert repeats(stand) == found
    assert repeats(stand, scope=Scope("payments", "one")) == found
    assert repeats(stand, scope=Scope("payments", "two")) == []
    # What ingest sees is a break, and no finding, also when it is cleared.
    assert breaks(api) == []
    send(api, chain, several([30, 3, 31]))
    (opened,) = breaks(api)
    assert repeats(stand) == found
    assert api.post(f"/api/v1/lineage/breaks/{opened['id']}/clear", json={"reason": "seen"}).status_code == 200
    assert repeats(stand) == found
    # Of what repeats a batch of which there is a break, that one says nothing.
    monkeypatch.setattr(judgement, "_repeated", lambda *_: iter(()))
    send(api, chain, several([40, 30, 41]))
    assert repeats(stand) == [*found, ("batch", 8, "d30", "decision d30 is in batch 7 of the same sidecar, too")]
