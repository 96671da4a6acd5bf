"""A filter for each batch that tells which batches cannot have what is searched for: a blocked Bloom filter.

The header, then blocks of 64 bytes. Each term sets six bits of the one block that it belongs to, so that a database
can answer with 64 bytes of each filter (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters",
2007). It may hold what no record has, about one time in a hundred; it never lacks what one has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from struct import Struct

from app.core.record_words import TooMany, add_terms, leaves_of_all

#: The first bytes of a filter: its form, which includes what `app.core.record_words` takes for a word.
HEADER = b"pwf1"
#: Bytes of a block.
BLOCK = 64

#: Bits for each term, and the most blocks, 256 KiB: one of more terms than that only says "perhaps" more often.
_BITS = 12
_MAX_BLOCKS = 4096
_split = Struct("<I4xQ").unpack
#: Of another form, so that it may hold whatever is asked for.
_EVERYTHING = b"pwf0" + bytes(BLOCK)
_BIT = [1 << number for number in range(8 * BLOCK)]


def build(entries: Iterable[bytes]) -> bytes:
    """The filter over the records among `entries`, lines without their newlines. An erased entry is empty."""
    found: set[str] = set()
    try:
        add_terms(found, leaves_of_all(entries))
    except TooMany:
        return _EVERYTHING
    blocks = min(_MAX_BLOCKS, max(1, -(-len(found) * _BITS // (8 * BLOCK))))
    bits = [0] * blocks
    for term in found:
        number, mask = _place_of(term)
        bits[number * blocks >> 32] |= mask
    return HEADER + b"".join(block.to_bytes(BLOCK, "little") for block in bits)


def may_hold(filter: bytes, wanted: Sequence[str]) -> bool:
    """Whether a batch with this filter may have records with all the terms (`record_words.Wanted`).

    A filter of another form may hold everything, and so may none at all.
    """
    return all(
        block_may_hold(filter[:4], filter[(at := offset(len(filter), term)) : at + BLOCK], term) for term in wanted
    )


def offset(size: int, term: str) -> int:
    """Where the block of a term begins in a filter of `size` bytes."""
    blocks = (size - len(HEADER)) // BLOCK
    return len(HEADER) + (block_number(term) * blocks >> 32) * BLOCK


def block_number(term: str) -> int:
    """32 bits that choose the block: of N blocks the one at `number * N >> 32`."""
    return _place_of(term)[0]


def block_may_hold(header: bytes, block: bytes, term: str) -> bool:
    """Whether records have the term, by the header of their filter and the term's own block."""
    return block_has(header, block, bits_of(term))


def bits_of(term: str) -> int:
    """The bits that a term sets in its block, for who asks many filters for it."""
    return _place_of(term)[1]


def block_has(header: bytes, block: bytes, bits: int) -> bool:
    """Whether a block has all these bits. One of another form may hold everything."""
    if header != HEADER or len(block) != BLOCK:
        return True
    return int.from_bytes(block, "little") & bits == bits


def _place_of(term: str) -> tuple[int, int]:
    """The number that chooses the term's block, and its bits there: the first and the last half of 128 bits of hash."""
    number, bits = _split(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    mask = (
        _BIT[bits & 511] | _BIT[bits >> 9 & 511] | _BIT[bits >> 18 & 511]
        | _BIT[bits >> 27 & 511] | _BIT[bits >> 36 & 511] | _BIT[bits >> 45 & 511]
    )  # fmt: skip
    return number, mask
