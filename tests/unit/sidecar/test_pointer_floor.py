import pytest

from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.core.targets import ChannelPointer
from app.sidecar.metadata import _Floor

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def pointer(sequence, release=A, horizon=60):
    return ChannelPointer(
        system="payments", channel="prod", sequence=sequence, release=release, horizon_seconds=horizon
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pointer.json"


def refused(floor, one):
    with pytest.raises(Denied) as denied:
        floor.pass_over(one)
    assert denied.value.reason == Reason.RELEASE_ROLLBACK


def test_higher_pointers_pass(path):
    floor = _Floor(path, 1)
    for sequence in (1, 2, 2, 7):
        floor.pass_over(pointer(sequence))


def test_a_rollback_is_a_higher_pointer_to_an_older_release(path):
    floor = _Floor(path, 1)
    floor.pass_over(pointer(1, A))
    floor.pass_over(pointer(2, B))
    floor.pass_over(pointer(3, A))


def test_a_lower_pointer_is_refused_also_after_a_restart(path):
    _Floor(path, 1).pass_over(pointer(5))
    for floor in (_Floor(path, 1), _Floor(path, 1)):
        refused(floor, pointer(4))
        refused(floor, pointer(4, B))
        floor.pass_over(pointer(5))


def test_one_sequence_names_one_release(path):
    floor = _Floor(path, 1)
    floor.pass_over(pointer(5, A))
    refused(floor, pointer(5, B))
    refused(_Floor(path, 1), pointer(5, B))


def test_what_was_refused_is_not_remembered(path):
    floor = _Floor(path, 1)
    floor.pass_over(pointer(5))
    before = path.read_bytes()
    refused(floor, pointer(4))
    assert path.read_bytes() == before
    floor.pass_over(pointer(6))


def test_a_first_start_has_a_minimum(path):
    floor = _Floor(path, 3)
    refused(floor, pointer(2))
    assert not path.exists()
    floor.pass_over(pointer(3))


def test_another_horizon_of_the_same_pointer_is_kept(path):
    floor = _Floor(path, 1)
    floor.pass_over(pointer(5, horizon=60))
    floor.pass_over(pointer(5, horizon=10))
    assert ChannelPointer.model_validate_json(path.read_bytes()).horizon_seconds == 10


def test_the_file_is_private_and_damage_is_not_taken_for_a_first_start(path):
    _Floor(path, 1).pass_over(pointer(5))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PlacetError, match="is damaged"):
        _Floor(path, 1)
