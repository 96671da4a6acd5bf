"""Records that a sidecar sends again in another batch: stored, since they are evidence, and they stop it at once."""

import pytest

from app.control import judgement

from .batch_kit import Chain
from .conftest import record
from .test_judgement import breaks, clear, limits, refused


@pytest.fixture
def plane(signed_plane):
    return signed_plane


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


def test_an_id_that_looks_like_one_made_of_bytes_is_an_id(api, chain):
    given = record("record-" + "0f" * 16)
    for raw in (given, record("b") + given):
        assert chain.send(api, chain.next(raw)).status_code == 200
    (found,) = breaks(api)
    assert "decision record-0f0f" in found["detail"]


def test_records_without_ids_around_them_hide_no_repeat(api, chain):
    for raw in (record("a"), record(None) + record("a") + record(None)):
        assert chain.send(api, chain.next(raw)).status_code == 200
    assert ["decision a was sent before" in one["detail"] for one in breaks(api)] == [True]


def test_what_has_no_id_or_is_of_another_sidecar_is_no_repeat(api, chain):
    lost = record(None)
    for raw in (lost, lost, lost + lost):
        assert chain.send(api, chain.next(raw)).status_code == 200
    assert chain.send(api, chain.next(record("a"))).status_code == 200
    other = Chain("two")
    assert other.send(api, other.next(record("a"))).status_code == 200
    assert chain.send(api, chain.next(record("a", at="2026-01-31T12:00:01Z"))).status_code == 200, "another time"
    assert breaks(api) == []


def at(number):
    """The time of a record, each with its own."""
    return f"2026-01-31T12:00:{number // 10:02}.{number % 10}Z"


def several(numbers):
    return b"".join(record(f"d{number}", at=at(number)) for number in numbers)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("instance", ["i1", "i2"])
def test_one_record_amid_others_is_a_repeat(api, chain, instance):
    for numbers in (range(10), range(10, 20), range(20, 30)):
        assert chain.send(api, chain.next(several(numbers))).status_code == 200
    again = chain if instance == "i1" else Chain(instance=instance, file="000002.log")
    amid = [*range(30, 34), 15, *range(34, 40)]
    assert again.send(api, again.next(several(amid))).status_code == 200, "it is evidence"
    (found,) = breaks(api)
    assert (found["kind"], found["stops"]) == ("lineage.repeat", True)
    assert "decision d15 was sent before, in batch 2" in found["detail"]
    refused(again.send(api, again.peek(several([41]))))
    clear(api, found)
    assert again.send(api, again.next(several(range(41, 45)))).status_code == 200
    assert breaks(api) == []


def test_a_record_that_is_twice_in_a_batch_is_a_repeat(api, chain):
    assert chain.send(api, chain.next(several([1, 2, 3, 2, 4]))).status_code == 200
    assert [(one["kind"], "decision d2 is in it 2 times" in one["detail"]) for one in breaks(api)] == [
        ("lineage.repeat", True)
    ]


def test_a_repeat_is_found_among_records_that_come_late(api, chain):
    assert chain.send(api, chain.next(several(range(0, 40, 2)))).status_code == 200
    assert chain.send(api, chain.next(several(range(1, 40, 2)))).status_code == 200, "late, but new"
    assert breaks(api) == []
    assert chain.send(api, chain.next(several([100, 51, 53, 55, 57, 8, 59]))).status_code == 200
    assert ["decision d8 was sent before, in batch 1" in one["detail"] for one in breaks(api)] == [True]


def test_records_in_the_order_of_their_times_are_not_even_looked_for(api, chain, monkeypatch):
    assert chain.send(api, chain.next(several(range(10)))).status_code == 200
    monkeypatch.setattr(judgement, "_SAME", None)
    assert chain.send(api, chain.next(several(range(10, 20)))).status_code == 200
    assert Chain("two").send(api, Chain("two").next(several(range(5)))).status_code == 200, "of another sidecar"
