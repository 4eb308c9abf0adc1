"""The average rises at once, falls slowly, and fades without news."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.ewma import DECAY_S, latency_s, measured
from tests.support.members import member


def test_who_was_never_measured_has_no_latency() -> None:
    assert latency_s(member("a"), 100.0) == 0.0


def test_a_peak_counts_whole_and_at_once() -> None:
    one = member("a")
    measured(one, 0.01, 100.0)
    measured(one, 2.0, 100.0)
    assert latency_s(one, 100.0) == 2.0


def test_it_falls_with_the_time_constant() -> None:
    one = member("a")
    measured(one, 2.0, 100.0)
    measured(one, 1.0, 100.0 + DECAY_S)
    assert one.ewma_s == pytest.approx(1 + math.exp(-1))


def test_it_fades_without_news() -> None:
    one = member("a")
    measured(one, 2.0, 100.0)
    assert latency_s(one, 100.0 + 3 * DECAY_S) == pytest.approx(2 * math.exp(-3))
    assert one.ewma_s == 2.0


def test_a_clock_that_goes_back_stands_still() -> None:
    one = member("a")
    measured(one, 2.0, 100.0)
    assert latency_s(one, 50.0) == 2.0
    measured(one, 1.0, 50.0)
    assert one.ewma_s == 2.0


@given(st.lists(st.tuples(st.floats(1e-6, 100), st.floats(0, 60)), min_size=1))
def test_it_lies_between_the_last_and_the_highest(steps: list[tuple[float, float]]) -> None:
    one, now = member("a"), 0.0
    for took_s, later_s in steps:
        now += later_s
        measured(one, took_s, now)
    assert steps[-1][0] * (1 - 1e-9) <= one.ewma_s <= max(took_s for took_s, _ in steps) * (1 + 1e-9)
