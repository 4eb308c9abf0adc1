"""A service that fails wholly is not buried under retries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.budget import WINDOW_S, RetryBudget


def test_little_traffic_may_be_tried_again_so_often_in_a_second_and_so_often_in_ten() -> None:
    budget = RetryBudget(percent=0, per_s=3)
    budget.offered(0.0)
    assert [budget.take(0.0) for _ in range(4)] == [True] * 3 + [False]
    assert (budget.allowed, budget.denied) == (3, 1)
    assert [budget.take(1.0) for _ in range(4)] == [True] * 3 + [False]
    assert sum(budget.take(2.0 + at / 10) for at in range(80)) == 24, "which makes 30"
    assert budget.take(WINDOW_S)


def test_the_floor_of_ten_seconds_holds_also_if_it_was_a_higher_one_before() -> None:
    budget = RetryBudget(percent=0, per_s=20)
    assert sum(budget.take(0.0) for _ in range(50)) == 20
    budget.settle(percent=0, per_s=2)
    assert not budget.take(1.0)


def test_a_floor_of_less_than_one_a_second_is_one_now_and_then() -> None:
    budget = RetryBudget(percent=0, per_s=0.5)
    assert sum(budget.take(at / 2) for at in range(20)) == 5


def test_much_traffic_may_be_tried_again_by_its_share() -> None:
    budget = RetryBudget(percent=20, per_s=3)
    for _ in range(1000):
        budget.offered(5.0)
    assert sum(budget.take(5.0) for _ in range(1000)) == 200


def test_the_floor_adds_nothing_to_the_share() -> None:
    budget = RetryBudget(percent=20, per_s=3)
    for _ in range(1000):
        budget.offered(5.0)
    assert sum(budget.take(5.0 + at / 100) for at in range(900)) == 200


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
    assert sum(budget.take(0.0) for _ in range(20)) == 1
    budget.settle(percent=0, per_s=4)
    assert sum(budget.take(0.0) for _ in range(20)) == 3
    budget.settle(percent=0, per_s=1)
    assert sum(budget.take(9.0) for _ in range(20)) == 1


def all_fail(budget: RetryBudget, since: float, per_second: int) -> list[int]:
    """Give how many connections a service that fails wholly has got at the end of each of 60 seconds."""
    received, after = 0, []
    for second in range(60):
        for number in range(per_second):
            now = since + second + number / per_second
            budget.offered(now)
            received += 1
            for _ in range(2):  # two more attempts, all of which fail
                received += budget.take(now)
        after.append(received)
    return after


@pytest.mark.parametrize("since", [0.0, 0.7, 123.999])
@pytest.mark.parametrize("per_second", [15, 20, 100, 1000])
def test_a_service_that_fails_wholly_gets_at_most_a_fifth_more_from_the_first_second_on(
    per_second: int, since: float
) -> None:
    after = all_fail(RetryBudget(percent=20, per_s=3), since, per_second)
    assert [second for second, received in enumerate(after, 1) if received > 1.2 * per_second * second] == []
    assert after[-1] >= 1.19 * per_second * 60


def test_below_that_the_floor_says_how_much_more() -> None:
    after = all_fail(RetryBudget(percent=20, per_s=3), 0.0, 5)
    assert after[-1] == 5 * 60 + 3 * 60


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
