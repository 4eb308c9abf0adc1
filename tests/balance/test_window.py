"""The window holds what is younger than itself, and nothing older."""

from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.window import SLICES, Window


def test_what_is_counted_is_there_until_the_window_has_passed() -> None:
    window = Window(30)
    window.add(100.0, successes=3, failures=2, slow=1)
    window.turn(126.9)
    assert (window.successes, window.failures, window.slow, window.total) == (3, 2, 1, 6)
    window.turn(130.0)
    assert window.total == 0


def test_cleared_it_is_empty() -> None:
    window = Window(10)
    window.add(5.0, failures=2)
    window.clear()
    window.add(5.0, failures=1)
    assert window.failures == 1


def test_a_clock_that_steps_back_loses_nothing() -> None:
    window = Window(10)
    window.add(50.0, failures=1)
    window.add(41.0, failures=1)
    assert window.failures == 2


STEPS = st.lists(
    st.tuples(st.floats(0, 20), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=40
)


@given(STEPS)
def test_it_is_as_a_list_of_all_that_came(steps: list[tuple[float, int, int, int]]) -> None:
    window, lasts_s, now = Window(10), 10.0, 1000.0
    came: list[tuple[float, int, int, int]] = []
    for wait_s, *counts in steps:
        now += wait_s
        successes, failures, slow = counts
        window.add(now, successes=successes, failures=failures, slow=slow)
        came.append((now, *counts))  # type: ignore[arg-type]
        slice_s = lasts_s / SLICES
        oldest = (int(now / slice_s) - SLICES + 1) * slice_s
        assert [window.successes, window.failures, window.slow] == [
            sum(row[kind] for row in came if int(row[0] / slice_s) * slice_s >= oldest) for kind in (1, 2, 3)
        ]
