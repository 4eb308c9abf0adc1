"""Core. Rounds of slots: every order comes as often, intervals hold what they should, noise is noise."""

import itertools
import math
import random
from collections import Counter

import pytest

from tests.bench.slots import DOUBT, Middle, Slot, middle, orders, verdict

SURE = Middle(1.0, 0.999, 1.001)


def test_a_slot_says_how_much_fits_into_a_second_and_what_one_costs() -> None:
    slot = Slot(operations=100, ns=20e6, client_ns=3e6, server_ns=1e6)
    assert slot.per_second == pytest.approx(5000)
    assert slot.processor_us == pytest.approx(40)


def test_six_rounds_have_every_order_once() -> None:
    found = list(orders("abc", 12, random.Random(1).shuffle))
    assert len(set(found[:6])) == len(set(found[6:])) == 6
    assert found[:6] != found[6:], "shuffled anew"


def test_rounds_that_do_not_fill_the_orders_are_as_many_as_asked_for() -> None:
    assert len(list(orders("abc", 8, random.Random(1).shuffle))) == 8
    assert list(orders("abc", 0, random.Random(1).shuffle)) == []


def test_the_interval_is_that_of_the_sign_test() -> None:
    # The table of Dixon and Mood for 5 %: of 20 values the 6th from either end, of 100 the 40th.
    assert middle(range(1, 21)) == Middle(10.5, 6, 15)
    assert middle(range(1, 101)) == Middle(50.5, 40, 61)
    assert middle([3, 1, 2, 9, 5, 4, 8, 7, 6]) == Middle(5, 2, 8)


def test_few_values_leave_no_interval() -> None:
    assert middle(range(6)) == Middle(2.5, 0, 5)
    with pytest.raises(ValueError, match="5 values"):
        middle(range(5))


def test_wild_values_move_the_interval_little() -> None:
    calm = [1 + at / 1000 for at in range(-50, 51)]
    assert middle([*calm, 50.0, 1e9]).high < 1.02
    assert middle(calm * 20).median == 1.0, "also of thousands"


def test_an_interval_misses_the_true_median_as_seldom_as_it_says() -> None:
    """With noise of one side only, as that of a machine: a tenth of the slots lose much of their time."""
    luck = random.Random(7)
    trials, missed = 1000, 0
    for _ in range(trials):
        found = middle(
            [luck.expovariate(1) if luck.random() < 0.1 else luck.gauss(0, 0.01) for _ in range(60)]
        )
        missed += not found.low <= TRUE_MEDIAN <= found.high
    # Three standard deviations of so many trials.
    assert missed / trials < DOUBT + 3 * math.sqrt(DOUBT / trials)


TRUE_MEDIAN = 0.01 * 0.1397
"""Where 0.9 of a normal distribution of that width holds a half: at its 0.5555th part."""


@pytest.mark.parametrize(
    ("ratio", "again", "goal", "words"),
    [
        (Middle(0.97, 0.96, 0.98), SURE, 0.95, "reached"),
        (Middle(0.95, 0.95, 0.98), SURE, 0.95, "reached"),
        (Middle(0.94, 0.93, 0.949), SURE, 0.95, "missed"),
        (Middle(0.95, 0.94, 0.96), SURE, 0.95, "not settled"),
        (Middle(0.97, 0.96, 0.98), Middle(1.01, 1.001, 1.02), 0.95, "too noisy to tell: a way is not"),
        (Middle(0.80, 0.79, 0.81), Middle(0.98, 0.97, 0.999), 0.95, "too noisy to tell: a way is not"),
        (Middle(1.0, 0.995, 1.01), Middle(1.0, 0.994, 1.006), 0.99, "too noisy to tell: a way and itself"),
        (Middle(1.0, 0.995, 1.01), Middle(1.0, 0.994, 1.006), 0.95, "reached"),
        (Middle(1.4, 1.3, 1.45), SURE, 1.5, "missed"),
        (Middle(1.6, 1.55, 1.7), SURE, 1.5, "reached"),
    ],
)
def test_a_verdict_needs_a_machine_that_lets_one_know(
    ratio: Middle, again: Middle, goal: float, words: str
) -> None:
    assert verdict(ratio, again, goal).startswith(words)


def test_orders_are_shuffled_so_that_nothing_periodic_meets_the_same_way() -> None:
    found = list(orders("abc", 600, random.Random(3).shuffle))
    after = Counter((one, two) for one, two in itertools.pairwise(found))
    assert len(after) > 25, "any order follows any other"
