"""One breaker: when it opens, for how long, and what closes it."""

import math
from random import Random

import pytest
from msgspec.structs import replace

from meshtrio.balance.breaker import JITTER, PERMIT_S, Breaker, Thresholds, open_time_s
from meshtrio.balance.breaker_table import Input, State
from meshtrio.balance.hearsay import FAILURE, SLOW, SUCCESS, Counts, Stand

NOW = 1000.0


class NoLuck(Random):
    """Draws the middle: no jitter."""

    def random(self) -> float:
        return 0.5


def breaker(**more: object) -> Breaker:
    return Breaker(replace(Thresholds(), **more), NoLuck())


def opened(now: float = NOW, **more: float) -> Breaker:
    made = breaker(**more)
    made.count(Counts(0, 5, 0, 5), now)
    assert made.state is State.OPEN
    return made


def half_open(**more: float) -> tuple[Breaker, float]:
    made = opened(**more)
    now = made.stand.until
    made.tick(now)
    assert made.state is State.HALF_OPEN
    return made, now


# Opening


def test_it_opens_at_the_fifth_failure_in_a_row() -> None:
    one = breaker()
    assert [one.count(FAILURE, NOW) for _ in range(5)] == [False] * 4 + [True]
    assert one.stand == Stand(NOW, True, NOW + 30, 1)


def test_a_success_or_a_slow_one_ends_the_row() -> None:
    for good in (SUCCESS, SLOW):
        one = breaker()
        for seen in [*[FAILURE] * 4, good] * 3:
            assert not one.count(seen, NOW)
        assert one.run == 0


@pytest.mark.parametrize(("failures", "opens"), [(9, False), (10, True)])
def test_it_opens_at_half_of_twenty(failures: int, opens: bool) -> None:
    one = breaker(consecutive=0)
    one.count(Counts(20 - failures - 1), NOW)
    assert not one.count(Counts(0, failures, 0, failures), NOW)  # nineteen say nothing yet
    assert one.count(SUCCESS, NOW) is opens


def test_what_failed_before_the_window_does_not_count() -> None:
    one = breaker(consecutive=0)
    one.count(Counts(0, 15, 0, 15), NOW)
    assert not one.count(Counts(15), NOW + 30)
    assert one.window.total == 15


def test_it_opens_at_too_many_slow_ones() -> None:
    one = breaker(slow_percent=50)
    assert not one.count(Counts(9), NOW)
    assert one.count(Counts(0, 0, 11), NOW)


def test_what_is_zero_is_off() -> None:
    one = breaker(consecutive=0, rate_percent=0, slow_percent=0)
    assert not one.count(Counts(0, 1000, 1000, 1000), NOW)


def test_the_open_time_doubles_up_to_its_maximum() -> None:
    wanted = Thresholds(open_s=30, open_max_s=300)
    assert [open_time_s(streak, wanted) for streak in (0, 1, 2, 3, 4, 5, 64, 10**9)] == [
        *(0, 30, 60, 120, 240, 300, 300, 300)
    ]


def test_the_open_time_is_moved_by_luck_within_its_jitter() -> None:
    lasted = []
    for seed in range(500):
        one = Breaker(Thresholds(), Random(seed))
        one.count(Counts(0, 5, 0, 5), NOW)
        lasted.append(one.stand.until - NOW)
    assert 30 * (1 - JITTER) <= min(lasted) < 25
    assert 35 < max(lasted) <= 30 * (1 + JITTER)


# Open


def test_results_that_come_late_change_nothing() -> None:
    one = opened()
    for what in (Input.SUCCESS, Input.FAILURE, Input.SLOW, Input.TRIPPED, Input.PROVEN):
        assert not one.move(what, NOW + 1)
    assert one.stand == Stand(NOW, True, NOW + 30, 1)


def test_it_is_half_open_when_its_time_is_over_and_not_before() -> None:
    one = opened()
    assert one.due == NOW + 30
    one.tick(NOW + 29.9)
    assert one.state is State.OPEN
    one.tick(NOW + 30)
    assert (one.state, one.due) == (State.HALF_OPEN, math.inf)


# Half open


def test_three_successes_close_it() -> None:
    one, now = half_open()
    assert [one.prove(Input.SUCCESS, now) for _ in range(3)] == [False, False, True]
    assert (one.state, one.stand) == (State.CLOSED, Stand(now, False, 0.0, 1))


@pytest.mark.parametrize("what", [Input.FAILURE, Input.SLOW])
def test_one_that_is_not_good_opens_it_for_twice_as_long(what: Input) -> None:
    one, now = half_open()
    assert not one.prove(Input.SUCCESS, now)
    assert one.prove(what, now)
    assert one.stand == Stand(now, True, now + 60, 2)


def test_no_more_prove_it_at_once_than_may() -> None:
    one, now = half_open(half_open=2)
    assert [one.permit(ticket, now) for ticket in (2, 3, 4)] == [True, True, False]
    assert one.due == now + PERMIT_S
    del one.permits[2]
    assert one.due == math.inf
    assert one.permit(5, now)


def test_a_permit_that_nobody_gives_back_is_void_in_time() -> None:
    one, now = half_open(half_open=1)
    assert one.permit(2, now)
    assert not one.permit(3, now + PERMIT_S - 1)
    assert one.permit(4, now + PERMIT_S)
    assert list(one.permits) == [4]


def test_whatever_it_moves_to_no_permit_is_left() -> None:
    for what in (Input.FAILURE, Input.PROVEN, Input.LEARNT_CLOSED, Input.LEARNT_OPEN, Input.FORCE_OPEN):
        one, now = half_open()
        one.permit(2, now)
        assert one.move(what, now)
        assert one.permits == {}


# Closed again


def test_the_streak_goes_on_if_it_opens_again_too_soon() -> None:
    one, now = half_open(successes=1)
    one.prove(Input.SUCCESS, now)
    one.count(Counts(0, 5, 0, 5), now + 29)
    assert one.stand.streak == 2


def test_the_streak_ends_when_it_stayed_closed_for_as_long_as_it_was_open() -> None:
    one, now = half_open(successes=1)
    one.prove(Input.SUCCESS, now)
    assert not one.is_forgettable(now + 29)
    assert one.is_forgettable(now + 30)
    one.count(Counts(0, 5, 0, 5), now + 30)
    assert one.stand.streak == 1


def test_what_failed_lately_is_not_forgotten() -> None:
    one = breaker()
    one.count(Counts(1, 1), NOW)
    assert not one.is_forgettable(NOW)
    assert one.is_forgettable(NOW + 30)
    one.count(FAILURE, NOW + 40)
    assert not one.is_forgettable(NOW + 100)  # the row goes on


# Others, and the operator


def test_it_adopts_what_is_newer_and_nothing_else() -> None:
    one = opened()
    assert not one.adopt(Stand(NOW - 1, True, NOW + 99, 1), NOW)
    assert one.adopt(Stand(NOW + 1, True, NOW + 99, 4), NOW)
    assert one.due == NOW + 99
    assert not one.adopt(one.stand, NOW)
    assert one.adopt(Stand(NOW + 2, False, 0.0, 4), NOW + 2)
    assert one.due == math.inf
    assert one.adopt(Stand(NOW + 3, True, NOW + 33, 5), NOW + 3)
    assert one.state is State.OPEN


def test_what_follows_is_later_also_where_the_clock_stands() -> None:
    one, now = half_open(successes=1)
    one.adopt(Stand(now + 3, True, now, 1), now)
    one.tick(now)
    before = one.stand
    one.prove(Input.SUCCESS, now)
    assert one.stand > before


def test_forced_it_does_not_listen_and_let_go_it_begins_anew() -> None:
    one = opened()
    assert one.move(Input.FORCE_CLOSED, NOW)
    assert one.is_forced
    assert not one.adopt(Stand(NOW + 1, True, NOW + 9, 1), NOW)
    assert one.move(Input.FORCE_OPEN, NOW)
    assert one.is_forced
    assert one.move(Input.AUTO, NOW + 5)
    assert (one.state, one.stand.open, one.stand.streak) == (State.CLOSED, False, 0)
    # An opening from before it was forced is over.
    assert not one.adopt(Stand(NOW + 4, True, NOW + 60, 2), NOW + 6)
