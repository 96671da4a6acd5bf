from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import merkle

# The example tree of certificate-transparency-go and of RFC 6962's reference implementation: its leaves, and the
# roots of its first 1 to 8 of them.
INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [sha256(b"\x00" + bytes.fromhex(text)).digest() for text in INPUTS]


def naive(leaves):
    """RFC 6962, section 2.1, word for word."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + naive(leaves[:k]) + naive(leaves[k:])).digest()


def naive_path(leaves, m):
    """RFC 6962, section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(leaves[:k], m), naive(leaves[k:])]
    return [*naive_path(leaves[k:], m - k), naive(leaves[:k])]


def leaves_of(size):
    return [sha256(str(number).encode()).digest() for number in range(size)]


@pytest.mark.parametrize("size", range(1, 9))
def test_known_roots(size):
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_root_of_nothing():
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_known_path():
    # Inclusion of leaf 5 among 8, from the same example.
    assert [hash_.hex() for hash_ in merkle.path(LEAVES, 5)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_a_leaf_commits_to_salt_and_entry():
    salt = bytes(range(16))
    assert merkle.leaf_hash(salt, b"entry") == sha256(b"\x00" + salt + b"entry").digest()


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_a_salt_of_another_length_could_move_the_border_to_the_entry(length):
    with pytest.raises(ValueError, match="16 bytes"):
        merkle.leaf_hash(bytes(length), b"entry")


@pytest.mark.parametrize("size", [*range(1, 70), 127, 128, 129, 999, 1000])
def test_every_path_of_every_size_is_the_rfcs(size):
    leaves = leaves_of(size)
    root = merkle.root(leaves)
    assert root == naive(leaves)
    for index in range(size) if size < 70 else (0, 1, size // 2, size - 2, size - 1):
        path = merkle.path(leaves, index)
        assert path == naive_path(leaves, index)
        assert merkle.root_from_path(leaves[index], index, size, path) == root


@given(st.integers(1, 80), st.data())
def test_no_other_leaf_index_or_size_leads_to_the_root(size, data):
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    path, root = merkle.path(leaves, index), merkle.root(leaves)
    claimed = data.draw(st.tuples(st.integers(0, 90), st.integers(0, 90)))
    try:
        reached = merkle.root_from_path(leaves[index], *claimed, path)
    except ValueError:
        return
    if claimed[0] != index:
        assert reached != root
    # A wrong size may lead to the same root: that is why the signed statement tells it, and why it is compared.


@given(st.integers(1, 80), st.data())
def test_any_changed_bit_is_noticed(size, data):
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    hashes = [leaves[index], *merkle.path(leaves, index)]
    which, bit = data.draw(st.integers(0, len(hashes) - 1)), data.draw(st.integers(0, 255))
    hashes[which] = (int.from_bytes(hashes[which]) ^ (1 << bit)).to_bytes(32)
    assert merkle.root_from_path(hashes[0], index, size, hashes[1:]) != merkle.root(leaves)


@given(st.integers(1, 80), st.data())
def test_a_path_of_another_length_is_refused(size, data):
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    path = merkle.path(leaves, index)
    with pytest.raises(ValueError, match="too long"):
        merkle.root_from_path(leaves[index], index, size, [*path, bytes(32)])
    if path:
        with pytest.raises(ValueError, match="too short"):
            merkle.root_from_path(leaves[index], index, size, path[:-1])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (5, 3)])
def test_there_is_no_such_leaf(index, size):
    with pytest.raises(ValueError, match="no leaf"):
        merkle.path(leaves_of(size), index)
    with pytest.raises(ValueError, match="no leaf"):
        merkle.root_from_path(bytes(32), index, size, [])


@pytest.mark.parametrize("hashes", [[bytes(31)], [bytes(33)], [b""]])
def test_a_hash_of_another_length_is_refused(hashes):
    with pytest.raises(ValueError, match="32 bytes"):
        merkle.root_from_path(bytes(32), 0, 2, hashes)
    with pytest.raises(ValueError, match="32 bytes"):
        merkle.root_from_path(hashes[0], 0, 1, [])


# ---- consistency of two trees -------------------------------------------------------------------------------


def naive_subproof(m, leaves, whole):
    """RFC 6962, section 2.1.2, word for word."""
    n = len(leaves)
    if m == n:
        return [] if whole else [naive(leaves)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole), naive(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive(leaves[:k])]


def test_every_small_tree_begins_every_larger_one():
    for second in range(1, 34):
        leaves = leaves_of(second)
        for first in range(1, second + 1):
            proof = naive_subproof(first, leaves, True)
            roots = merkle.root(leaves[:first]), merkle.root(leaves)
            assert merkle.consistent(first, roots[0], second, roots[1], proof), (first, second)
            # And none of another size does, nor with a hash too many, too few, or changed.
            for other in {first - 1, first + 1} & set(range(1, second)):
                assert not merkle.consistent(other, roots[0], second, roots[1], proof)
            for other in (second - 1, second + 1):
                if other != first and (first, other, proof) != (first, first, []):
                    assert not merkle.consistent(first, roots[0], other, merkle.root(leaves_of(other)), proof) or (
                        naive_subproof(first, leaves_of(other), True) == proof
                    )
            assert not merkle.consistent(first, roots[0], second, roots[1], [*proof, bytes(32)])
            for at in range(len(proof)):
                assert not merkle.consistent(first, roots[0], second, roots[1], proof[:at] + proof[at + 1 :])
                changed = [*proof[:at], bytes(32), *proof[at + 1 :]]
                assert not merkle.consistent(first, roots[0], second, roots[1], changed)


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_a_rewritten_tree_is_not_consistent(first, more, data):
    leaves = leaves_of(first + more)
    before = merkle.root(leaves[:first])
    changed = data.draw(st.integers(0, first - 1))
    leaves[changed] = sha256(b"another").digest()
    proof = naive_subproof(first, leaves, True)
    assert not merkle.consistent(first, before, first + more, merkle.root(leaves), proof)


def test_trees_without_leaves_and_of_one_size():
    empty, one, other = merkle.root([]), merkle.root(LEAVES[:3]), merkle.root(LEAVES[3:6])
    assert merkle.consistent(0, empty, 0, empty, [])
    assert merkle.consistent(0, empty, 3, one, [])
    assert merkle.consistent(3, one, 3, one, [])
    assert not merkle.consistent(0, one, 3, one, [])
    assert not merkle.consistent(0, empty, 0, one, [])
    assert not merkle.consistent(0, empty, 3, one, [one])
    assert not merkle.consistent(3, one, 3, other, [])
    assert not merkle.consistent(3, one, 3, one, [one])
    assert not merkle.consistent(3, one, 2, merkle.root(LEAVES[:2]), [])
    assert not merkle.consistent(3, one, 6, other, [])
    assert not merkle.consistent(2, merkle.root(LEAVES[:2]), 4, merkle.root(LEAVES[:4]), [])
    assert not merkle.consistent(3, one[:31], 3, one[:31], [])


def test_the_leaf_of_an_entry_has_no_salt():
    assert merkle.entry_hash(bytes.fromhex(INPUTS[3])) == LEAVES[3]
