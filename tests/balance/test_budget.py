"""A service that fails wholly is not buried under retries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.budget import WINDOW_S, RetryBudget


def test_little_traffic_may_be_tried_again_up_to_the_minimum() -> None:
    budget = RetryBudget(percent=20, per_s=3)
    budget.offered(0.0)
    assert [budget.take(0.0) for _ in range(31)] == [True] * 30 + [False]
    assert (budget.allowed, budget.denied) == (30, 1)
    assert budget.take(WINDOW_S)


def test_much_traffic_may_be_tried_again_by_its_share() -> None:
    budget = RetryBudget(percent=20, per_s=3)
    for _ in range(1000):
        budget.offered(5.0)
    assert sum(budget.take(5.0) for _ in range(1000)) == 200


def test_retries_earn_no_retries() -> None:
    budget = RetryBudget(percent=100, per_s=0)
    budget.offered(0.0)
    assert [budget.take(0.0) for _ in range(3)] == [True, False, False]


def test_nothing_is_allowed_where_the_budget_is_nothing() -> None:
    budget = RetryBudget(percent=0, per_s=0)
    budget.offered(0.0)
    assert not budget.take(0.0)


def test_new_numbers_hold_at_once_and_what_was_taken_counts() -> None:
    budget = RetryBudget(percent=0, per_s=1)
    assert sum(budget.take(0.0) for _ in range(20)) == 10
    budget.settle(percent=0, per_s=2)
    assert sum(budget.take(0.0) for _ in range(20)) == 10


@pytest.mark.parametrize("per_second", [20, 100, 1000])
def test_a_service_that_fails_wholly_gets_at_most_a_fifth_more(per_second: int) -> None:
    budget, received, offered = RetryBudget(percent=20, per_s=3), 0, 0
    for number in range(60 * per_second):
        now = number / per_second
        budget.offered(now)
        offered += 1
        received += 1
        for _ in range(2):  # two more attempts, all of which fail
            received += budget.take(now)
    assert received <= 1.2 * offered + 3 * WINDOW_S
    assert received >= 1.19 * offered


BURSTS = st.lists(st.tuples(st.floats(0, 15), st.integers(0, 300), st.integers(0, 300)), max_size=60)


@given(BURSTS, st.sampled_from([0, 5, 20, 100]), st.sampled_from([0, 1, 3]))
def test_over_any_time_retries_stay_within_their_share(
    bursts: list[tuple[float, int, int]], percent: float, per_s: float
) -> None:
    budget, now, first, retries = RetryBudget(percent, per_s), 0.0, 0, 0
    for wait_s, offered, wanted in bursts:
        now += wait_s
        for _ in range(offered):
            budget.offered(now)
        first += offered
        retries += sum(budget.take(now) for _ in range(wanted))
    assert retries <= percent / 100 * first + per_s * WINDOW_S * (now // WINDOW_S + 1)
