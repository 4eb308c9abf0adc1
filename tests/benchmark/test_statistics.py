"""Core. The arithmetic of the bench: rounds compared with rounds, and when a number is in doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.benchmark import statistics as bench
from meshtrio.benchmark.statistics import Quiet, Spread

numbers = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50)
CALM = [Quiet(0, 0)]


@given(numbers)
def test_the_median_has_as_many_above_as_below(values: list[float]) -> None:
    middle = bench.median(values)
    assert sum(value > middle for value in values) <= len(values) / 2
    assert sum(value < middle for value in values) <= len(values) / 2


def test_the_median_of_an_even_number_is_between_the_two_in_the_middle() -> None:
    assert bench.median([4, 1, 3, 100]) == 3.5


def test_spread_keeps_the_ends() -> None:
    spread = bench.spread_of([10, 8, 12])
    assert spread == Spread(10, 8, 12, 3)
    assert spread.relative == pytest.approx(0.4)
    assert Spread(0, 0, 0, 1).relative == 0


def test_a_ratio_is_taken_round_by_round() -> None:
    # The second round was slow for both. The medians' ratio would be 50/100; round by round it is always 0.6.
    base = {1: 100.0, 2: 10.0, 3: 200.0}
    assert bench.ratio_by_round({1: 60.0, 2: 6.0, 3: 120.0}, base) == pytest.approx(Spread(0.6, 0.6, 0.6, 3))


def test_a_ratio_needs_the_same_round_and_a_base() -> None:
    assert bench.ratio_by_round({1: 5.0, 2: 6.0}, {2: 3.0, 3: 1.0}) == Spread(2, 2, 2, 1)
    assert bench.ratio_by_round({1: 5.0}, {2: 3.0}) is None
    assert bench.ratio_by_round({1: 5.0}, {1: 0.0}) is None


def test_a_difference_is_taken_round_by_round() -> None:
    assert bench.difference_by_round({1: 50.0, 2: 75.0}, {1: 20.0, 2: 40.0, 3: 1.0}) == Spread(
        32.5, 30, 35, 2
    )
    assert bench.difference_by_round({1: 1.0}, {}) is None


def test_a_quiet_machine_and_rounds_that_agree_leave_no_doubt() -> None:
    assert bench.doubts_about(Spread(100, 90, 110, 3), CALM) == []


@pytest.mark.parametrize(
    ("spread", "disturbances", "words"),
    [
        (Spread(100, 90, 110, 2), CALM, "only 2 rounds"),
        (Spread(100, 80, 110, 5), CALM, "rounds 30% apart"),
        (Spread(100, 90, 110, 5), [Quiet(0, 0), Quiet(0.02, 0)], "2.0% of the machine stolen"),
        (Spread(100, 90, 110, 5), [Quiet(0, 0.5), Quiet(0, 0)], "others used 50% of a core"),
    ],
)
def test_each_disturbance_is_a_doubt(spread: Spread, disturbances: list[Quiet], words: str) -> None:
    (doubt,) = bench.doubts_about(spread, disturbances)
    assert doubt.startswith(words)


@pytest.mark.parametrize(
    ("quiet", "noisy"),
    [
        (Quiet(0, 0), False),
        (Quiet(bench.NOISY_STEAL, bench.NOISY_FOREIGN), False),
        (Quiet(bench.NOISY_STEAL * 1.01, 0), True),
        (Quiet(0, bench.NOISY_FOREIGN * 1.01), True),
    ],
)
def test_a_moment_is_noisy_when_either_took_too_much(quiet: Quiet, noisy: bool) -> None:
    assert quiet.is_noisy is noisy
