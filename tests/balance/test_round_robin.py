"""Turns are fair, also while members come and go."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.round_robin import RoundRobin
from tests.support.members import many, members, picks


def turns_of(names: str, start: int = 0) -> RoundRobin:
    turns = RoundRobin(start)
    turns.replace(members(names))
    return turns


def told(turns: RoundRobin, count: int) -> str:
    return "".join(picks(turns, count))


@pytest.mark.parametrize(("start", "first"), [(0, "abc"), (1, "bca"), (5, "cab")])
def test_nine_picks_over_three_are_three_each(start: int, first: str) -> None:
    assert told(turns_of("abc", start), 9) == first * 3


def test_further_tries_begin_where_the_first_ones_do() -> None:
    assert [picks(turns_of("abcd", start), 1, {"d"}) for start in range(4)] == [["a"], ["b"], ["c"], ["a"]]


def test_the_start_holds_until_the_first_pick() -> None:
    turns = turns_of("", 1)
    assert told(turns, 1) == ""
    turns.replace(members("abc"))
    assert told(turns, 2) == "bc"


@pytest.mark.parametrize(
    ("before", "count", "after", "then"),
    [
        ("abcd", 2, "dcba", "cd"),
        ("abc", 1, "ac", "ca"),
        ("abc", 1, "bc", "bc"),
        ("abc", 2, "abcd", "cdab"),
        ("abc", 3, "bcd", "dbc"),
        ("bcd", 1, "abcd", "cdab"),
        ("abc", 2, "xyz", "xyz"),
        ("xyz", 2, "abc", "abc"),
    ],
)
def test_a_change_skips_nobody_and_serves_nobody_twice(
    before: str, count: int, after: str, then: str
) -> None:
    turns = turns_of(before)
    told(turns, count)
    turns.replace(members(after))
    assert told(turns, len(then)) == then


def test_second_tries_have_turns_of_their_own() -> None:
    turns = turns_of("abcd")
    landed: Counter[str] = Counter()
    firsts = ""
    for _ in range(300):
        (first,) = picks(turns, 1)
        firsts += first
        landed.update(picks(turns, 1, {"a"}) if first == "a" else [first])
    assert firsts == "abcd" * 75
    assert landed == {"b": 100, "c": 100, "d": 100}


@given(
    steps=st.lists(st.tuples(st.sets(st.sampled_from("abxyz")), st.integers(0, 7)), max_size=12),
    start=st.integers(0, 10),
)
def test_those_who_stay_differ_by_one_at_most(steps: list[tuple[set[str], int]], start: int) -> None:
    turns, counts = RoundRobin(start), Counter("mno")
    for others, count in steps:
        turns.replace(members({*others, *"mno"}))
        counts.update(told(turns, count))
    stayed = [counts[name] for name in "mno"]
    assert max(stayed) - min(stayed) <= 1


def test_whole_rounds_are_exactly_fair() -> None:
    turns = RoundRobin(17)
    turns.replace(many(1000))
    assert set(Counter(picks(turns, 100_000)).values()) == {100}
