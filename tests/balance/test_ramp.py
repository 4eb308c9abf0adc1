"""Slow start: who gets how much of his weight, and when that changes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.ramp import FIRST, Ramps


def seen(*steps: tuple[str, float], ramp_s: float = 10) -> Ramps:
    ramps = Ramps()
    for names, now in steps:
        ramps.see(list(names), now, ramp_s)
    return ramps


def test_those_that_are_there_at_first_do_not_start() -> None:
    ramps = seen(("ab", 100.5))
    assert [ramps.share(name, 100.5, 10) for name in "ab"] == [1, 1]
    assert ramps.until(100.5) == math.inf


@pytest.mark.parametrize(
    ("now", "share"), [(100.5, 0.1), (100.99, 0.1), (101.0, 0.19), (105.2, 0.55), (110, 1), (200, 1)]
)
def test_a_new_one_rises_each_second(now: float, share: float) -> None:
    ramps = seen(("a", 0), ("ab", 100.5))
    assert ramps.share("b", now, 10) == pytest.approx(share)
    assert ramps.share("a", now, 10) == 1


def test_all_shares_change_at_whole_seconds() -> None:
    ramps = seen(("a", 0), ("ab", 100.5), ("abc", 100.9))
    assert ramps.until(100.9) == 101
    assert ramps.until(101.0) == 102


def test_it_is_over_when_all_have_started() -> None:
    ramps = seen(("a", 0), ("ab", 100.5), ("ab", 109.9))
    assert ramps.until(109.9) == 110
    ramps.see("ab", 110, 10)
    assert ramps.until(110) == math.inf


def test_who_comes_back_starts_again() -> None:
    ramps = seen(("ab", 0), ("a", 5), ("ab", 8))
    assert ramps.share("b", 8, 10) == FIRST
    ramps.see("a", 9, 10)
    ramps.see("ab", 12, 10)
    assert ramps.share("b", 12.5, 10) == FIRST


def test_who_comes_when_nobody_is_there_has_all_at_once() -> None:
    ramps = seen(("ab", 0), ("", 5), ("b", 8), ("ab", 9))
    assert (ramps.share("b", 9, 10), ramps.share("a", 9, 10)) == (1, FIRST)


def test_without_seconds_nobody_starts_slowly() -> None:
    ramps = seen(("a", 0), ("ab", 5), ramp_s=0)
    assert (ramps.share("b", 5, 0), ramps.until(5)) == (1, math.inf)
    slow = seen(("a", 0), ("ab", 5))
    slow.see("ab", 6, 0)
    assert slow.until(6) == math.inf, "it was switched off"


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcd")), st.floats(0, 20)), max_size=20), st.floats(0, 60))
def test_a_share_is_always_a_share(steps: list[tuple[set[str], float]], ramp_s: float) -> None:
    ramps, now = Ramps(), 0.0
    for names, passes_s in steps:
        now += passes_s
        ramps.see(names, now, ramp_s)
        shares = [ramps.share(name, now, ramp_s) for name in "abcd"]
        assert all(FIRST <= share <= 1 for share in shares)
        assert (ramps.until(now) == math.inf) or ramps.until(now) - now <= 1
