"""Records that a sidecar sends again in another batch: stored, since they are evidence, and they stop it at once."""

import pytest

from .batch_kit import Chain
from .conftest import record
from .test_judgement import breaks, clear, limits, refused


@pytest.fixture
def plane(signed_plane):
    return signed_plane


@pytest.fixture
def chain(api):
    api.create_system("payments")
    return Chain()


@pytest.mark.parametrize("instance", ["i1", "i2"])
def test_the_same_records_again_are_a_repeat_and_stop_it_whatever_the_system_says(api, chain, instance):
    limits(api, clock="never", opa="never", dropped="never")
    first, second = record("a") + record("b") + record("c"), record("d") + record("e")
    for raw in (first, second):
        assert chain.send(api, chain.next(raw)).status_code == 200
    again = chain if instance == "i1" else Chain(instance=instance, file="000002.log")
    made = again.next(first)
    assert again.send(api, made).status_code == 200, "it is evidence"
    (found,) = breaks(api)
    assert (found["kind"], found["stops"], found["instance"]) == ("lineage.repeat", True, instance)
    assert "decision a was sent before, in batch " in found["detail"]
    assert again.send(api, made).status_code == 200, "the same batch is no repeat of its records"
    refused(again.send(api, again.peek(record("f"))))
    clear(api, found)
    assert again.send(api, again.next(record("f") + record("c"))).status_code == 200
    assert ["decision c was sent before" in one["detail"] for one in breaks(api)] == [True]


def test_what_has_no_id_or_is_of_another_sidecar_is_no_repeat(api, chain):
    lost = record(None)
    for raw in (lost, lost, lost + lost):
        assert chain.send(api, chain.next(raw)).status_code == 200
    assert chain.send(api, chain.next(record("a"))).status_code == 200
    other = Chain("two")
    assert other.send(api, other.next(record("a"))).status_code == 200
    assert chain.send(api, chain.next(record("a", at="2026-01-31T12:00:01Z"))).status_code == 200, "another time"
    assert breaks(api) == []
