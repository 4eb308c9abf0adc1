"""Core. What is seen together is one publication, whatever the order in which it was looked at."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.publications import APART_S, Publication, publications


def test_a_gap_begins_another_publication() -> None:
    moments = [0.01, 0.0, 0.015, 1.0, 1.01]
    assert publications(moments) == [Publication(0.0, 0.015, 3), Publication(1.0, 1.01, 2)]


def test_no_change_is_no_publication() -> None:
    assert publications([]) == []


def test_what_is_just_so_far_apart_is_two() -> None:
    assert len(publications([0.0, APART_S])) == 2


@given(st.lists(st.floats(0, 10)))
def test_every_change_is_in_one_of_them_and_they_are_apart(moments: list[float]) -> None:
    found = publications(moments)
    assert sum(one.changes for one in found) == len(moments)
    assert all(after.first_s - before.last_s >= APART_S for before, after in pairwise(found))
