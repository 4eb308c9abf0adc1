"""Ring 1. How long the streams wait, for every sort of failure, at the ends of luck."""

import pytest

from meshtrio.discover.kubernetes_pace import Pace

PACE = Pace()


def test_failures_are_waited_for_twice_as_long_each_up_to_a_bound() -> None:
    assert [PACE.after_failure(n, 0.5) for n in range(9)] == [0, 1, 2, 4, 8, 16, 30, 30, 30]
    assert PACE.after_failure(100_000, 0.5) == 30


def test_who_is_forgotten_again_and_again_lists_anew_within_five_seconds() -> None:
    assert [PACE.after_forgetting(n, 0.5) for n in range(1, 7)] == [0, 1, 2, 3.5, 3.5, 3.5]
    assert PACE.after_forgetting(100_000, 1) < 4.5


def test_no_wait_is_the_same_for_all() -> None:
    assert PACE.after_failure(3, 0) == pytest.approx(3.2)
    assert PACE.after_failure(3, 1) == pytest.approx(4.8)
    assert PACE.resync_in(300, 0) == 240
    assert PACE.resync_in(300, 1) == pytest.approx(360)


def test_the_first_refusal_is_answered_with_fresh_credentials_at_once() -> None:
    assert [PACE.after_refusal(n, 0.5) for n in range(1, 6)] == [0, 5, 10, 20, 30]


def test_a_plea_is_honoured_within_bounds() -> None:
    assert PACE.after_plea(7, 0) == 7
    assert 7 < PACE.after_plea(7, 1) < 9
    assert PACE.after_plea(3600, 0) == 60


def test_a_watch_ends_for_the_resync_and_never_lasts_for_ever() -> None:
    assert PACE.watch_for(300, 0) == 30
    assert PACE.watch_for(300, 1) == 60
    assert PACE.watch_for(12.4, 1) == 12
    assert PACE.watch_for(0.1, 1) == 1
    assert PACE.watch_for(-5, 0) == 1
