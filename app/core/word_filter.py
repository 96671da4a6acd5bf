"""A filter for each batch that tells which parts of it cannot have what is searched for: a blocked Bloom filter.

The header, then blocks of 64 bytes. The entries of a batch are parted into groups (`record_frames.group_of`), and what
the filter holds is pairs of a term and a group; a term that every group has is one pair, with all of them. All pairs of
a term set their bits in the one block that the term belongs to, so that a database can answer with 64 bytes of each
filter (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters", 2007). It may hold what no record
has; it never lacks what one has.

Filters of the first form know no groups. They are still read, and made where one is to be compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import reduce
from hashlib import blake2b
from operator import or_
from struct import Struct
from typing import NamedTuple

from app.core import batch_words, usual_record
from app.core.record_frames import ALL_GROUPS as ALL_GROUPS
from app.core.record_frames import GROUPS as GROUPS
from app.core.record_frames import group_of as group_of
from app.core.record_words import TooMany
from app.core.usual_record import Usual

#: The first bytes of a filter: its form, which includes what `app.core.record_words` takes for a word.
OLDEST, NEWEST = HEADERS = b"pwf1", b"pwf2"
#: Bytes of a block.
BLOCK = 64

#: Bits for each term of the first form, and for each pair of the newest.
_BITS, _BITS_OF_PAIR = 12, 16
#: The most blocks, 256 KiB: one of more terms than that only says "perhaps" more often.
_MAX_BLOCKS = 4096
#: Of no form, so that it may hold whatever is asked for.
_EVERYTHING = b"pwf0" + bytes(BLOCK)
_HEAD = len(NEWEST)

#: Of a term's 128 bits of hash: what chooses the block, and numbers of bits in it, by form.
_oldest = Struct("<I4xQ")
_newest = Struct("<I6H")
#: Of the numbers of bits the lower 9 count.
_KEPT = b"\xff" * 4 + b"\xff\x01" * 6
_BIT = [1 << number for number in range(8 * BLOCK)]


class Term(NamedTuple):
    """What filters are asked for a term."""

    #: 32 bits that choose the block (`block_at`).
    number: int
    #: The bits of the term in a filter of the first form.
    bits: int
    #: The bits of its pair with each group, and with all of them.
    bits_of: tuple[int, ...]


def term(text: str) -> Term:
    """A word or a pair of path and value, as filters are asked for it."""
    digest = _digests([text])
    number, hash = _oldest.unpack(digest)
    places = set(next(_places(digest))[1:])
    of_groups = tuple(sum(_BIT[place ^ 1 << group] for place in places) for group in range(GROUPS + 1))
    return Term(number, _bits_of(hash), of_groups)


def build(
    entries: Sequence[bytes | None], header: bytes = NEWEST, usual: Sequence[Usual | None] | None = None
) -> bytes:
    """The filter over the records of a batch, lines without their newlines; None is an erased entry.

    `usual`: the entries as `usual_record.read_all` reads them, where that was done already.
    """
    if header not in HEADERS:
        raise ValueError(f"no form of filters: {header!r}")
    read = usual_record.read_all(entries) if usual is None else usual
    try:
        if header == OLDEST:
            return header + _build_oldest(batch_words.terms(entries, read))
        return header + _build(batch_words.terms(entries, read, group_of))
    except TooMany:
        return _EVERYTHING


def form_of(filter: bytes) -> bytes:
    """The form in which to make a filter anew, to compare it with this one."""
    return OLDEST if filter[:_HEAD] == OLDEST else NEWEST


def groups(header: bytes, block: bytes, term: Term) -> int:
    """The groups that may have a term, a bit each, by the header of their filter and the term's block.

    A filter of another form may hold everything, and so may none at all.
    """
    if len(block) == BLOCK:
        held = int.from_bytes(block, "little")
        if header == NEWEST:
            found = sum([1 << group for group, bits in enumerate(term.bits_of) if held & bits == bits])
            return found if found < 1 << GROUPS else ALL_GROUPS
        if header == OLDEST:
            return ALL_GROUPS if held & term.bits == term.bits else 0
    return ALL_GROUPS


def block_at(header: bytes, blocks: int, number: int) -> int:
    """Which of the blocks of a filter is that of a term with this number."""
    return number % blocks if header == NEWEST and blocks else number * blocks >> 32


def may_hold(filter: bytes, wanted: Iterable[str]) -> bool:
    """Whether a batch with this filter may have a record with all the terms (`record_words.Wanted`)."""
    found, header = ALL_GROUPS, filter[:_HEAD]
    for one in map(term, wanted):
        begin = _HEAD + BLOCK * block_at(header, (len(filter) - _HEAD) // BLOCK, one.number)
        found &= groups(header, filter[begin : begin + BLOCK], one)
    return found != 0


def _build(terms: dict[str, int]) -> bytes:
    """The blocks of the newest form, of terms with the groups that have them, a bit each.

    How many blocks there are differs from batch to batch, by the terms, so that a term has other neighbours in each:
    else one that is met where frequent ones have set all its bits would be held by every batch of a store.
    """
    of_groups: dict[int, list[str]] = defaultdict(list)
    for term, groups in terms.items():
        of_groups[groups].append(term)
    every = reduce(or_, of_groups, 0)
    # What all groups have that have any terms is one pair, of a group that there is not.
    parts: list[list[bytes]] = [[] for _ in range(GROUPS + 1)]
    for groups, some in of_groups.items():
        made = _digests(some)
        for group in (GROUPS,) if groups == every else range(GROUPS):
            if groups == every or groups >> group & 1:
                parts[group].append(made)
    digests = [b"".join(part) for part in parts]
    pairs = sum(map(len, digests)) // _newest.size
    # An eighth more must fit, too.
    needed = min(_MAX_BLOCKS * 8 // 9, max(1, -(-pairs * _BITS_OF_PAIR // (8 * BLOCK))))
    # The remainder is that of the sum of all 16-bit parts, which does not depend on their order.
    salt = sum(int.from_bytes(one, "little") % (2**16 - 1) for one in digests)
    blocks = needed + salt % (needed // 8 + 1)
    # A byte for each bit is what is set the quickest.
    held = bytearray(b"0") * (8 * BLOCK * blocks)
    for group, digest in enumerate(digests):
        # Each group turns another bit in the numbers of the term's bits. Those of two groups then differ by two turned
        # bits, as those of no other two groups do: what they have in common is what any two terms have by chance.
        turned = 1 << group
        for number, a, b, c, d, e, f in _places(digest):
            at = number % blocks << 9 ^ turned
            held[at ^ a] = held[at ^ b] = held[at ^ c] = held[at ^ d] = held[at ^ e] = held[at ^ f] = 49
    held.reverse()
    return int(bytes(held), 2).to_bytes(BLOCK * blocks, "little")


def _build_oldest(terms: Collection[str]) -> bytes:
    blocks = min(_MAX_BLOCKS, max(1, -(-len(terms) * _BITS // (8 * BLOCK))))
    held = [0] * blocks
    for number, hash in _oldest.iter_unpack(_digests(terms)):
        held[number * blocks >> 32] |= _bits_of(hash)
    return b"".join(block.to_bytes(BLOCK, "little") for block in held)


def _digests(texts: Iterable[str]) -> bytes:
    return b"".join([blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts])


def _places(digests: bytes) -> Iterator[tuple[int, ...]]:
    """Of each of these digests, one after the other, what chooses the block, and the numbers of six bits."""
    kept = int.from_bytes(digests, "little") & int.from_bytes(_KEPT * (len(digests) // len(_KEPT)), "little")
    return _newest.iter_unpack(kept.to_bytes(len(digests), "little"))


def _bits_of(hash: int) -> int:
    """The bits of a term in its block of the first form."""
    return (
        _BIT[hash & 511] | _BIT[hash >> 9 & 511] | _BIT[hash >> 18 & 511]
        | _BIT[hash >> 27 & 511] | _BIT[hash >> 36 & 511] | _BIT[hash >> 45 & 511]
    )  # fmt: skip
