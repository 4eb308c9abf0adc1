"""Luck follows the weights, also when some were tried."""

import random
from collections import Counter

import pytest

from meshtrio.balance.random_choice import DRAWS, RandomChoice
from tests.support.members import members, picks

WEIGHTS = {"a": 1.0, "b": 2.0, "c": 3.0}


def of(weights: dict[str, float]) -> RandomChoice:
    choice = RandomChoice(random.Random(1))
    choice.replace(members(weights))
    return choice


def test_shares_follow_the_weights() -> None:
    found = Counter(picks(of(WEIGHTS), 6000))
    assert [found[name] for name in "abc"] == pytest.approx([1000, 2000, 3000], rel=0.1)


@pytest.mark.parametrize("heavy", [2.0, 1e6])
def test_what_was_tried_leaves_its_share_to_all_others(heavy: float) -> None:
    # With a weight of a million luck alone hardly finds another: the rest is gone through.
    found = Counter(picks(of(WEIGHTS | {"b": heavy}), 4000, {"b"}))
    assert found.keys() == {"a", "c"}
    assert found["c"] == pytest.approx(3000, rel=0.1)


@pytest.mark.parametrize("highest", [0.0, 1 - 2**-53])
def test_luck_at_its_ends_still_finds_a_member(highest: float) -> None:
    class Fixed(random.Random):
        def random(self) -> float:
            return highest

    choice = RandomChoice(Fixed())
    choice.replace(members({f"m{number}": 0.1 for number in range(9)}))
    at = "m0" if highest == 0 else "m8"
    assert picks(choice, 1) == [at]
    assert len(picks(choice, 1, {at})) == 1
    pair = choice.pair(())
    assert pair is not None
    assert pair[0] is not pair[1]


def test_a_pair_is_two_while_there_are_two() -> None:
    choice = of({"a": 1.0, "b": 1e9, "c": 1.0})
    for tried, count in (((), 2), ({"b"}, 2), ({"a", "b"}, 1)):
        for _ in range(20 * DRAWS):
            pair = choice.pair(tried)
            assert pair is not None
            assert len({one.id for one in pair}) == count
            assert not {one.id for one in pair} & set(tried)
    assert choice.pair(set("abc")) is None


def test_beside_a_giant_all_others_are_drawn_alike() -> None:
    # Luck finds the giant each time, so the second one is whoever stands at some place, and not at the first.
    choice = of({"giant": 1e9} | {f"m{number}": 1.0 for number in range(9)})
    seconds = Counter(pair[1].id for _ in range(900) if (pair := choice.pair(())))
    assert len(seconds) == 9
    assert max(seconds.values()) < 300


def test_the_mean_weight_is_that_of_the_members() -> None:
    assert of(WEIGHTS).mean_weight == 2.0
    assert of({}).mean_weight == 1.0
