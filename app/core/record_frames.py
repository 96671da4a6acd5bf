"""Records of a batch as one compressed object, of which any entry can be read alone, and erased without moving others.

The form is in docs/storage.md: a head, then frames of 16 entries, each a zstd frame of lines. An erased entry leaves
an empty line, and the head names it, so that nothing else that is empty passes for erased. The same entries give the
same bytes under one version of zstd only: an object is named by its own digest, and a batch by that of its lines.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import local

import zstandard

#: How the names of objects of this form end, and of plain lines, as they were stored before.
SUFFIX, PLAIN = ".frames", ".jsonl"

#: Entries of one frame: what is read to read one of them.
FRAME = 16

#: Frames are dealt to so many groups in turn: a filter of words (`app.core.word_filter`) says which may hold something.
GROUPS = 8
#: A bit for each group.
ALL_GROUPS = (1 << GROUPS) - 1

#: Bytes of all entries of an object, with newlines.
MAX_PLAIN = 16 * 1024 * 1024

#: Dictionaries by their digest. Objects name them, so one that was ever used stays for ever. They are texts of
#: made-up records, not trained on real ones: what a dictionary holds no erasure reaches.
DICTIONARIES = {
    "d235699d2e137a217167fbea44ec389a054c0951fbc783bdd068bab4f3088768": "record_dictionary_1.jsonl",
}
_NEWEST = "d235699d2e137a217167fbea44ec389a054c0951fbc783bdd068bab4f3088768"

_HERE = Path(__file__).parent
_MAGIC = b"PLACETR1"
_NONE = bytes(32)
#: Magic, entries, erased ones, the dictionary's digest. Then the numbers of the erased ones and the frames' lengths.
_HEAD = struct.Struct("<8sII32s")
_NUMBER = 4

#: Level 1 is as small as level 3 where a dictionary has seen the form of the records.
_LEVEL = 1


class Damaged(ValueError):
    """The bytes are no such object, or not a whole one."""


@dataclass(frozen=True)
class Head:
    """What an object says of itself."""

    entries: int
    #: Numbers of entries, from 0, ascending.
    erased: tuple[int, ...]
    #: The dictionary's digest; None where the frames need none.
    dictionary: str | None
    #: Where each frame begins, and where the last one ends.
    bounds: tuple[int, ...]

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.bounds) - 1

    def numbers(self, frame: int) -> range:
        """The entries of a frame."""
        return range(FRAME * frame, min(FRAME * (frame + 1), self.entries))


def group_of(number: int) -> int:
    """The group of an entry, by its number in the batch."""
    return number // FRAME % GROUPS


def pack(entries: Sequence[bytes | None], dictionary: str | None = _NEWEST) -> bytes:
    """The object of these entries, lines without newlines; None is an erased one.

    Raises `ValueError` for what is no line, and for more than `MAX_PLAIN` bytes.
    """
    compress = _tools().compressor(dictionary).compress
    erased = [number for number, entry in enumerate(entries) if entry is None]
    lines = [entry or b"" for entry in entries] if erased else entries
    frames, size = [], 0
    for first in range(0, len(entries), FRAME):
        chunk = lines[first : first + FRAME]
        plain = b"\n".join(chunk) + b"\n"  # type: ignore[arg-type]  # none of them is None here
        if plain.count(b"\n") != len(chunk):
            raise ValueError("an entry is one line, without its newline")
        size += len(plain)
        frames.append(compress(plain))
    if size > MAX_PLAIN:
        raise ValueError(f"an object holds at most {MAX_PLAIN} bytes of records")
    named = bytes.fromhex(dictionary) if dictionary else _NONE
    head = _HEAD.pack(_MAGIC, len(entries), len(erased), named)
    numbers = struct.pack(f"<{len(erased) + len(frames)}I", *erased, *map(len, frames))
    return b"".join([head, numbers, *frames])


def head_length(begin: bytes) -> int:
    """How many bytes the head takes, of an object that begins so. Raises `Damaged`."""
    if len(begin) < _HEAD.size:
        raise Damaged("it is shorter than its head")
    magic, entries, erased, _ = _HEAD.unpack_from(begin)
    if magic != _MAGIC:
        raise Damaged("it does not begin as such an object does")
    if not erased <= entries <= MAX_PLAIN:
        raise Damaged(f"it names {erased} erased entries of {entries}")
    return _HEAD.size + _NUMBER * int(erased + -(-entries // FRAME))


def read_head(begin: bytes) -> Head:
    """The head of an object, of which at least `head_length` bytes are given. Raises `Damaged`."""
    length = head_length(begin)
    if len(begin) < length:
        raise Damaged("it is shorter than its head")
    _, entries, count, named = _HEAD.unpack_from(begin)
    numbers = struct.unpack_from(f"<{(length - _HEAD.size) // _NUMBER}I", begin, _HEAD.size)
    erased = numbers[:count]
    if any(one >= other for one, other in zip(erased, (*erased[1:], entries), strict=False)):
        raise Damaged("its erased entries are not in order")
    bounds = [length]
    for size in numbers[count:]:
        if not size:
            raise Damaged("it names a frame without bytes")
        bounds.append(bounds[-1] + size)
    return Head(entries, erased, None if named == _NONE else named.hex(), tuple(bounds))


def read_frame(head: Head, frame: int, packed: bytes) -> list[bytes | None]:
    """The entries of one frame, given its bytes. Raises `Damaged`."""
    return _lines(head, frame, _plain(head, frame, packed))


def _plain(head: Head, frame: int, packed: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(packed) > MAX_PLAIN:
            raise Damaged(f"frame {frame} is larger than an object may be")
        return _tools().decompressor(head.dictionary).decompress(packed, MAX_PLAIN, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(f"frame {frame}: {error}") from error


def _lines(head: Head, frame: int, plain: bytes) -> list[bytes | None]:
    numbers = head.numbers(frame)
    lines: list[bytes | None] = list(plain.split(b"\n"))
    if lines.pop() != b"" or len(lines) != len(numbers):
        raise Damaged(f"frame {frame} does not hold {len(numbers)} lines")
    for number in head.erased[bisect_left(head.erased, numbers.start) : bisect_left(head.erased, numbers.stop)]:
        if lines[number - numbers.start]:
            raise Damaged(f"entry {number} is named as erased and is there")
        lines[number - numbers.start] = None
    return lines


def unpack(body: bytes) -> list[bytes | None]:
    """All entries of an object; None for each erased one. Raises `Damaged`."""
    head = read_head(body)
    return [line for frame, plain in _frames(head, body) for line in _lines(head, frame, plain)]


def _frames(head: Head, body: bytes, groups: int = ALL_GROUPS) -> Iterator[tuple[int, bytes]]:
    """The number and the lines of each frame of some groups."""
    if head.bounds[-1] != len(body):
        raise Damaged(f"it has {len(body)} bytes, not {head.bounds[-1]}")
    size = 0
    for frame in range(head.frames):
        if not groups >> frame % GROUPS & 1:
            continue
        plain = _plain(head, frame, body[head.bounds[frame] : head.bounds[frame + 1]])
        size += len(plain)
        if size > MAX_PLAIN:
            raise Damaged(f"it holds more than {MAX_PLAIN} bytes of records")
        yield frame, plain


@dataclass(frozen=True)
class Sifted:
    """How many entries an object has in all, and those that may hold something, by number."""

    entries: int
    found: dict[int, bytes]


def sift(key: str, body: bytes, may_hold: Callable[[bytes], bool], groups: int = ALL_GROUPS) -> Sifted:
    """The entries of some groups of an object of either form that are not ruled out. Raises `Damaged`.

    `may_hold` is asked of the lines of a frame at once, and then of each: what it says no to has no part that it would
    say yes to. Frames of other groups are not even unpacked, so that damage within them is not seen.
    """
    found: dict[int, bytes] = {}
    if key.endswith(PLAIN):
        whole = entries_of(key, body)
        for at, one in enumerate(whole):
            if groups >> group_of(at) & 1 and one is not None and may_hold(one):
                found[at] = one
        return Sifted(len(whole), found)
    head = read_head(body)
    for frame, plain in _frames(head, body, groups):
        if may_hold(plain):
            numbered = zip(head.numbers(frame), _lines(head, frame, plain), strict=True)
            found.update((at, one) for at, one in numbered if one is not None and may_hold(one))
    return Sifted(head.entries, found)


def entries_of(key: str, body: bytes) -> list[bytes | None]:
    """All entries of an object of either form, which the end of its key tells. Raises `Damaged`."""
    if not key.endswith(PLAIN):
        return unpack(body)
    if not body.endswith(b"\n"):
        raise Damaged("it does not end with a whole line")
    return [*body[:-1].split(b"\n")]


def without(entries: Sequence[bytes | None], numbers: Iterable[int]) -> list[bytes | None]:
    """The entries with those of these numbers erased. Raises `ValueError` for a number that is none of theirs."""
    left = list(entries)
    for number in numbers:
        if not 0 <= number < len(left):
            raise ValueError(f"there is no entry {number} among {len(left)}")
        left[number] = None
    return left


class _Tools(local):
    """Compressors of one thread: they are quick to use and slow to make, and no two threads may share one."""

    def __init__(self) -> None:
        self._compressors: dict[str | None, zstandard.ZstdCompressor] = {}
        self._decompressors: dict[str | None, zstandard.ZstdDecompressor] = {}

    def compressor(self, digest: str | None) -> zstandard.ZstdCompressor:
        if digest not in self._compressors:
            # The checksum tells a damaged frame where one is read alone, without the object's digest.
            self._compressors[digest] = zstandard.ZstdCompressor(_LEVEL, _dictionary(digest), write_checksum=True)
        return self._compressors[digest]

    def decompressor(self, digest: str | None) -> zstandard.ZstdDecompressor:
        if digest not in self._decompressors:
            self._decompressors[digest] = zstandard.ZstdDecompressor(_dictionary(digest))
        return self._decompressors[digest]


_threads = _Tools()


def _tools() -> _Tools:
    return _threads


@cache
def _dictionary(digest: str | None) -> zstandard.ZstdCompressionDict | None:
    if digest is None:
        return None
    if digest not in DICTIONARIES:
        raise Damaged(f"it names a dictionary that this version does not have: {digest}")
    body = _HERE.joinpath(DICTIONARIES[digest]).read_bytes()
    if sha256(body).hexdigest() != digest:
        raise Damaged(f"the dictionary {DICTIONARIES[digest]} of this installation was changed")
    return zstandard.ZstdCompressionDict(body, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
