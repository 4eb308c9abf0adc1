"""Core. The order in which the kernel picks."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.slots import MEMBERS_BOUND, ORDER_BOUND, PICKS, STICKY_SIZES, interleaved, slots

members = st.lists(
    st.tuples(st.text("abcdef", min_size=1, max_size=6), st.integers(0, 300)),
    min_size=1,
    max_size=40,
    unique_by=lambda one: one[0],
)


@given(algorithm=st.sampled_from(sorted(PICKS)), members=members, luck=st.randoms())
def test_the_order_in_which_they_are_named_does_not_matter(
    algorithm: str, members: list[tuple[str, int]], luck: object
) -> None:
    other = list(members)
    luck.shuffle(other)  # type: ignore[attr-defined]
    named = [members[at][0] for at in slots(algorithm, members)]
    assert named == [other[at][0] for at in slots(algorithm, other)]


@given(members=members, algorithm=st.sampled_from(["round_robin", "random", "least_connections"]))
def test_without_weights_each_has_one_slot(members: list[tuple[str, int]], algorithm: str) -> None:
    assert sorted(slots(algorithm, members)) == list(range(len(members)))


def test_weights_are_shares_that_are_spread() -> None:
    members = [("a", 5), ("b", 1), ("c", 1)]
    assert [members[at][0] for at in slots("weighted", members)] == list("aaabcaa")
    assert slots("weighted", [("a", 200), ("b", 100)]) == slots("weighted", [("a", 2), ("b", 1)])


@pytest.mark.parametrize("algorithm", ["round_robin", "random", "least_connections"])
def test_who_is_starting_gets_its_tenths(algorithm: str) -> None:
    members = [("a", 7), ("b", 7), ("c", 7)]
    count = Counter(members[at][0] for at in slots(algorithm, members, {"b": 3}))
    assert count == {"a": 10, "b": 3, "c": 10}
    count = Counter(members[at][0] for at in slots(algorithm, members, {"b": 5}))
    assert count == {"a": 2, "b": 1, "c": 2}


def test_tenths_are_of_the_own_weight() -> None:
    members = [("a", 2), ("b", 4), ("zero", 0)]
    count = Counter(members[at][0] for at in slots("weighted", members, {"b": 5, "zero": 1}))
    assert count == {"a": 1, "b": 1}


def test_of_many_who_starts_has_one_slot_at_least() -> None:
    members = [(f"{at:04}", 1) for at in range(MEMBERS_BOUND)]
    count = Counter(slots("round_robin", members, {"0500": 1}))
    assert sum(count.values()) <= ORDER_BOUND
    assert (count[500], count[499]) == (1, 2)


def test_nobody_starts_slowly_by_maglev() -> None:
    members = [("a", 1), ("b", 1)]
    assert slots("maglev", members, {"b": 1}) == slots("maglev", members)


@given(members=members)
def test_the_share_of_slots_is_that_of_weights(members: list[tuple[str, int]]) -> None:
    order = slots("weighted", members)
    total = sum(weight for _, weight in members)
    assert len(order) <= ORDER_BOUND
    count = Counter(order)
    for at, (_, weight) in enumerate(members):
        if not total:
            assert count[at] == 1
        elif not weight:
            assert at not in count
        else:
            # One slot is kept for each, so a heavy one may have so much less.
            assert abs(count[at] - weight * len(order) / total) <= len(members) + 1


@given(weights=st.lists(st.integers(0, 12), min_size=1, max_size=8))
def test_no_stretch_of_the_order_is_unfair(weights: list[int]) -> None:
    """Smooth: at no time is anybody more than one turn off his share (two where ties come together)."""
    order, total = interleaved(weights), sum(weights)
    for end in range(len(order)):
        had = Counter(order[:end])
        assert all(abs(had[at] - weight * end / total) < 2 for at, weight in enumerate(weights))


@pytest.mark.parametrize(("count", "size"), [(1, 1021), (16, 1021), (17, 8191), (MEMBERS_BOUND, 8191)])
def test_sticky_slots_are_a_prime_number_and_even(count: int, size: int) -> None:
    assert size in dict(STICKY_SIZES).values()
    order = slots("maglev", [(f"10.0.{at // 250}.{at % 250}:80", 1) for at in range(count)])
    assert len(order) == size
    shares = Counter(order)
    assert len(shares) == count
    assert max(shares.values()) - min(shares.values()) <= 1


def test_sticky_slots_mostly_stay_when_one_leaves() -> None:
    names = [(f"10.0.0.{at}:80", 1) for at in range(10)]
    before = [names[at][0] for at in slots("maglev", names)]
    fewer = names[:4] + names[5:]
    after = [fewer[at][0] for at in slots("maglev", fewer)]
    moved = sum(was != now for was, now in zip(before, after, strict=True) if was != names[4][0])
    # As the paper says, a few per cent of others' slots move in a small table.
    assert moved / len(before) < 0.06


def test_who_weighs_nothing_gets_no_caller_of_his_own() -> None:
    assert set(slots("maglev", [("a", 0), ("b", 3)])) == {1}
    assert set(slots("maglev", [("a", 0), ("b", 0)])) == {0, 1}


def test_another_algorithm_is_not_the_kernel_s() -> None:
    with pytest.raises(KeyError, match="peak_ewma"):
        slots("peak_ewma", [("a", 1)])
