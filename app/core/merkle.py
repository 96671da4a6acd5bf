"""The Merkle tree of a batch, and of a transparency log: RFC 6962, section 2.1, with SHA-256.

A leaf of a batch commits to a salt and to the raw bytes of an entry. Without the salt nobody can guess what an erased
entry was; its leaf hash stays in its place, so that the tree still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

#: Bytes of a salt, and of a hash.
SALT = 16
HASH = 32


def leaf_hash(salt: bytes, raw: bytes) -> bytes:
    """The hash of one entry's leaf. Raises `ValueError` for a salt of another length than 16 bytes."""
    if len(salt) != SALT:
        raise ValueError(f"a salt has {SALT} bytes, not {len(salt)}")
    return sha256(b"\x00" + salt + raw).digest()


def entry_hash(body: bytes) -> bytes:
    """The leaf hash of an entry of a transparency log, which has no salt (RFC 6962, section 2.1)."""
    return sha256(b"\x00" + body).digest()


def leaf_hashes(salts: bytes, entries: Sequence[bytes]) -> list[bytes]:
    """The leaf hash of each entry, with its salt of `salts`, which stand one after the other.

    Raises `ValueError` unless there are as many salts as entries.
    """
    if len(salts) != SALT * len(entries):
        raise ValueError(f"{len(salts)} bytes of salts for {len(entries)} entries")
    each = (salts[at : at + SALT] for at in range(0, len(salts), SALT))
    return list(map(leaf_hash, each, entries))


def hashes(joined: bytes) -> list[bytes]:
    """Hashes that stand one after the other."""
    return [joined[at : at + HASH] for at in range(0, len(joined), HASH)]


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes; that of no leaf is the hash of nothing."""
    if not leaves:
        return sha256().digest()
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of the leaf at `index`, from the leaf's neighbour up to the root's child."""
    if not 0 <= index < len(leaves):
        raise ValueError(f"there is no leaf {index} among {len(leaves)}")
    found = []
    level = list(leaves)
    while len(level) > 1:
        neighbour = index ^ 1
        if neighbour < len(level):  # the last of an odd number has none, and moves up as it is
            found.append(level[neighbour])
        level, index = _above(level), index // 2
    return found


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root to which `path` leads from the leaf at `index` of `size` leaves.

    Raises `ValueError` where no tree of that size has such a path: a root alone does not tell its size.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} among {size}")
    if any(len(hash_) != HASH for hash_ in (leaf, *path)):
        raise ValueError(f"a hash has {HASH} bytes")
    rest = list(reversed(path))
    last, found = size - 1, leaf
    while last:
        if index % 2 or index < last:
            if not rest:
                raise ValueError(f"the path of {len(path)} hashes is too short for leaf {index} of {size}")
            neighbour = rest.pop()
            found = node(neighbour, found) if index % 2 else node(found, neighbour)
        index, last = index // 2, last // 2
    if rest:
        raise ValueError(f"the path of {len(path)} hashes is too long for a leaf of {size}")
    return found


def consistent(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `second` leaves begins with the tree of `first` (RFC 9162, 2.1.4.2).

    False as well for a proof that is too long, too short or of hashes of another length, and where `second` is the
    smaller one. A tree of no leaf begins every tree, and of one size there is one root: both need an empty proof.
    """
    if any(len(hash_) != HASH for hash_ in (first_root, second_root, *proof)) or not 0 <= first <= second:
        return False
    if first == 0:
        return first_root == root([]) and not proof and (second > 0 or second_root == first_root)
    if first == second:
        return first_root == second_root and not proof
    rest = list(reversed(proof))
    if not rest:
        return False
    # A whole tree is a node of the larger one itself, and is left out of the proof.
    at, last = first - 1, second - 1
    while at % 2:
        at, last = at // 2, last // 2
    of_first = of_second = first_root if first & (first - 1) == 0 else rest.pop()
    while rest:
        if last == 0:
            return False
        neighbour = rest.pop()
        if at % 2 or at == last:
            of_first, of_second = node(neighbour, of_first), node(neighbour, of_second)
            while at and at % 2 == 0:
                at, last = at // 2, last // 2
        else:
            of_second = node(of_second, neighbour)
        at, last = at // 2, last // 2
    return last == 0 and of_first == first_root and of_second == second_root


def _above(level: list[bytes]) -> list[bytes]:
    """Pairs become nodes; the last of an odd number moves up. That is RFC 6962's tree, from below."""
    nodes = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
    return nodes if len(level) % 2 == 0 else [*nodes, level[-1]]


def node(left: bytes, right: bytes) -> bytes:
    """The hash above two hashes."""
    return sha256(b"\x01" + left + right).digest()
