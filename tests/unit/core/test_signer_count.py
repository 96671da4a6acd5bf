from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.signer_count import counted


@pytest.mark.parametrize(
    ("signatures", "count"),
    [
        ([], 0),
        ([("a", "1")], 1),
        ([("a", "1"), ("a", "1")], 1),
        ([("a", "1"), ("a", "2")], 1),  # one person under two issuers
        ([("a", "1"), ("b", "1")], 1),  # two people under one pattern
        ([("a", "1"), ("b", "2")], 2),
        ([("a", "1"), ("a", "2"), ("b", "1")], 2),
        # Three people and three entries, and yet two: all but one person signed under the same one.
        ([("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1")], 2),
    ],
)
def test_a_person_and_an_entry_count_once(signatures, count):
    assert counted(signatures) == counted(reversed(signatures)) == count


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("1234")), max_size=7))
def test_it_is_the_most_that_any_choice_gives(signatures):
    def distinct(chosen):
        return len({who for who, _ in chosen}) == len({entry for _, entry in chosen}) == len(chosen)

    sizes = (size for size in range(len(signatures), -1, -1))
    assert counted(signatures) == next(n for n in sizes if any(map(distinct, combinations(signatures, n))))
