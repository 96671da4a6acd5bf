"""Records in frames: what goes in comes out, erasing moves nothing, and nothing else passes for it."""

import contextlib
import struct
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import record_frames
from app.core.record_frames import Damaged, pack, read_frame, read_head, unpack, without

lines = st.binary(max_size=80).map(lambda line: line.replace(b"\n", b""))
batches = st.lists(st.none() | lines, max_size=70)


@given(batches, st.sampled_from([None, *record_frames.DICTIONARIES]))
@settings(max_examples=200, deadline=None)
def test_what_goes_in_comes_out(entries, dictionary):
    body = pack(entries, dictionary)
    assert unpack(body) == entries
    head = read_head(body[: record_frames.head_length(body[:48])])
    assert (head.entries, head.dictionary, head.bounds[-1]) == (len(entries), dictionary, len(body))
    assert head.erased == tuple(number for number, entry in enumerate(entries) if entry is None)
    for number, entry in enumerate(entries):
        frame = number // record_frames.FRAME
        alone = read_frame(head, frame, body[head.bounds[frame] : head.bounds[frame + 1]])
        assert alone[number % record_frames.FRAME] == entry


@given(st.lists(lines, min_size=1, max_size=70), st.data())
@settings(max_examples=100, deadline=None)
def test_erasing_moves_nothing_and_leaves_nothing(entries, data):
    numbers = data.draw(st.sets(st.integers(0, len(entries) - 1)))
    left = unpack(pack(without(entries, numbers)))
    assert left == [None if number in numbers else entry for number, entry in enumerate(entries)]
    assert pack(without(left, numbers)) == pack(left), "once more is the same object"


def test_an_erased_entry_is_nowhere_in_the_object():
    secret = b"a subject that nobody else has"
    entries = [b"x" * 100, secret, b"y" * 100]
    packed = pack(entries, None)
    assert secret in packed
    assert secret not in pack(without(entries, [1]), None)


@pytest.mark.parametrize("number", [-1, 3])
def test_what_is_not_there_cannot_be_erased(number):
    with pytest.raises(ValueError, match="there is no entry"):
        without([b"a", b"b", b"c"], [number])


@pytest.mark.parametrize("entries", [[b"a\nb"], [b"\n"], [b"a"] * 20 + [b"b\n"]])
def test_a_newline_is_in_no_entry(entries):
    with pytest.raises(ValueError, match="one line"):
        pack(entries)


def test_objects_are_bounded(monkeypatch):
    monkeypatch.setattr(record_frames, "MAX_PLAIN", 1000)
    assert unpack(pack([b"a" * 999])) == [b"a" * 999]
    with pytest.raises(ValueError, match="at most 1000 bytes"):
        pack([b"a" * 500, b"b" * 500])
    monkeypatch.undo()
    large, many = pack([b"a" * 5000]), pack([b"a" * 70] * 17)
    monkeypatch.setattr(record_frames, "MAX_PLAIN", 1000)
    for body in (large, many):
        with pytest.raises(Damaged):
            unpack(body)


@given(st.lists(lines, min_size=1, max_size=40), st.data())
@settings(max_examples=300, deadline=None)
def test_no_changed_bit_goes_unnoticed(entries, data):
    """Where a frame is read alone, nobody compares the object's digest."""
    body = bytearray(pack(entries))
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    body[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(Damaged):
        assert unpack(bytes(body)) == entries  # a bit of zstd that means nothing


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda more: pack([b"a", None])[:60] + more))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_an_object_or_damaged(body):
    with contextlib.suppress(Damaged):
        assert isinstance(unpack(body), list)


def head(entries, *erased, sizes=(1,), count=None):
    numbers = struct.pack(f"<{len(erased) + len(sizes)}I", *erased, *sizes)
    return struct.pack("<8sII32s", b"PLACETR1", entries, len(erased) if count is None else count, bytes(32)) + numbers


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"PLACETR1",
        b"PLACETR2" + bytes(100),
        head(1, 1),
        head(2, 1, 0),
        head(2, 1, 1),
        head(2, 2),
        head(1, count=2),
        head(1, sizes=(0,)),
        head(17, sizes=(1,)),
        head(2**32 - 1),
    ],
)
def test_heads_that_say_what_cannot_be_are_damaged(begin):
    with pytest.raises(Damaged):
        read_head(begin)


def test_what_is_named_as_erased_is_not_there():
    body = pack([b"a", b"b"], None)
    named = head(2, 1, sizes=(len(body) - 52,)) + body[52:]
    with pytest.raises(Damaged, match="entry 1 is named as erased"):
        unpack(named)
    empty = pack([b"a", b""], None)
    assert unpack(head(2, 1, sizes=(len(empty) - 52,)) + empty[52:]) == [b"a", None]


def test_both_forms_are_read():
    assert record_frames.entries_of("records/a.jsonl", b"a\n\nb\n") == [b"a", b"", b"b"]
    assert record_frames.entries_of("records/a.frames", pack([b"a", None])) == [b"a", None]
    for key, body in (("a.jsonl", b"a"), ("a.jsonl", b""), ("a.frames", b"a\n"), ("a.jsonl2", b"a\n")):
        with pytest.raises(Damaged):
            record_frames.entries_of(key, body)


@given(batches, st.binary(min_size=1, max_size=2), st.sampled_from(["a.frames", "a.jsonl"]))
@settings(max_examples=200, deadline=None)
def test_sifting_rules_out_what_may_not_hold_it_and_nothing_else(entries, needle, key):
    if key.endswith("jsonl"):
        entries = [entry or b"" for entry in entries] or [b""]
        body = b"\n".join(entries) + b"\n"
    else:
        body = pack(entries)
    sifted = record_frames.sift(key, body, lambda raw: needle in raw)
    assert sifted.entries == len(entries)
    assert sifted.found == {at: one for at, one in enumerate(entries) if one is not None and needle in one}


@given(st.integers(0, 300), st.integers(0, 255), st.sampled_from(["a.frames", "a.jsonl"]))
@settings(max_examples=100, deadline=None)
def test_sifting_some_groups_leaves_out_the_others(count, groups, key):
    entries = [b"needle %d" % number if number % 3 else b"" for number in range(count or 1)]
    body = b"\n".join(entries) + b"\n" if key.endswith("jsonl") else pack(entries)
    sifted = record_frames.sift(key, body, lambda raw: b"needle" in raw, groups)
    assert sifted.entries == len(entries)
    assert sifted.found == {
        at: one for at, one in enumerate(entries) if b"needle" in one and 1 << at // 16 % 8 & groups
    }


def test_frames_of_other_groups_are_not_unpacked():
    body = bytearray(pack([b"%d" % number for number in range(40)], None))
    bounds = read_head(bytes(body)).bounds
    body[bounds[1] + 2] ^= 0xFF
    assert list(record_frames.sift("a.frames", bytes(body), lambda raw: True, 0b101).found) == [
        *range(16),
        *range(32, 40),
    ]
    for damaged, groups in ((bytes(body), 0b10), (bytes(body[:-1]), 0), (b"x" + bytes(body[1:]), 0)):
        with pytest.raises(Damaged):
            record_frames.sift("a.frames", damaged, lambda raw: True, groups)


def test_damage_is_found_where_nothing_is_searched_for():
    body = pack([b"a"] * 20, None)
    one_less = head(19, sizes=[end - begin for begin, end in pairwise(read_head(body).bounds)]) + body[56:]
    flipped = body[:-9] + bytes([body[-9] ^ 1]) + body[-8:]
    for damaged, held in ((body[:-1], False), (body + b"a", False), (flipped, False), (one_less, True)):
        with pytest.raises(Damaged):
            record_frames.sift("a.frames", damaged, lambda raw, held=held: held)


def test_dictionaries_are_those_that_they_are_named():
    """Objects name them, so none may ever be changed or removed."""
    assert "d235699d2e137a217167fbea44ec389a054c0951fbc783bdd068bab4f3088768" in record_frames.DICTIONARIES
    for digest, name in record_frames.DICTIONARIES.items():
        body = record_frames._HERE.joinpath(name).read_bytes()
        assert sha256(body).hexdigest() == digest
        assert len(body) < 32 * 1024


def test_an_unknown_dictionary_is_damage():
    body = bytearray(pack([b"a"]))
    body[16:48] = bytes(range(32))
    with pytest.raises(Damaged, match="a dictionary that this version does not have"):
        unpack(bytes(body))


def test_the_dictionary_pays():
    line = (record_frames._HERE / "record_dictionary_1.jsonl").read_bytes().split(b"\n")[1]
    entries = [line.replace(b'"amount":40', b'"amount":%d' % number) for number in range(16)]
    assert len(pack(entries)) < 0.7 * len(pack(entries, None))
