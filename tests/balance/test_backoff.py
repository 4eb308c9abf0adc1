"""Waits are drawn from the whole range, which doubles up to its bound."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.backoff import backoff_s


@pytest.mark.parametrize(
    ("attempt", "most"), [(0, 0.025), (1, 0.05), (2, 0.1), (3, 0.2), (4, 0.25), (5000, 0.25)]
)
def test_the_range_doubles_up_to_the_maximum_and_is_used_wholly(attempt: int, most: float) -> None:
    luck = Random(1)
    waits = [backoff_s(attempt, 0.025, 0.25, luck.random()) for _ in range(2000)]
    assert 0 <= min(waits) < 0.02 * most
    assert 0.98 * most < max(waits) <= most
    assert 0.45 * most < sum(waits) / len(waits) < 0.55 * most


@given(st.integers(-5, 10**9), st.floats(0, 1e6), st.floats(0, 1e6))
def test_no_wait_is_negative_or_above_the_maximum(attempt: int, base_s: float, max_s: float) -> None:
    assert 0 <= backoff_s(attempt, base_s, max_s, Random(attempt).random()) <= max_s
