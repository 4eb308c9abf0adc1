"""The buckets, by a clock that is an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.ca.limits import KNOWN_BOUND, Level, Limits, Rate


def test_a_burst_and_then_the_rate() -> None:
    limits = Limits(Rate(2.0, 3.0))
    assert [limits.take("a", 10.0) for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert limits.take("a", 10.4) == pytest.approx(0.1)
    assert limits.take("a", 10.5) == 0
    assert limits.take("a", 10.5) > 0


def test_each_has_a_bucket_of_its_own() -> None:
    limits = Limits(Rate(1.0, 1.0))
    assert (limits.take("a", 0.0), limits.take("b", 0.0)) == (0, 0)
    assert limits.take("a", 0.0) == 1.0


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    assert Level(0.5, 10.0).taken(Rate(1.0, 5.0), 5.0)[1] == 0.5


def test_no_more_are_remembered_than_there_is_room_for() -> None:
    limits = Limits(Rate(1.0, 1.0))
    assert limits.take("first", 0.0) == 0
    for number in range(KNOWN_BOUND):
        limits.take(str(number), 0.0)
    assert limits.take("first", 0.0) == 0  # forgotten, so as if it were new
    assert limits.take(str(KNOWN_BOUND - 1), 0.0) > 0
    assert len(limits._levels) == KNOWN_BOUND


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.5, 20), st.floats(1, 20))
def test_never_more_than_the_burst_and_what_the_time_brought(
    gaps: list[float], per_s: float, burst: float
) -> None:
    limits, now, taken = Limits(Rate(per_s, burst)), 0.0, 0
    for gap in gaps:
        now += gap
        wait_s = limits.take("x", now)
        taken += wait_s == 0
        assert wait_s >= 0
        assert taken <= burst + now * per_s + 1e-6
