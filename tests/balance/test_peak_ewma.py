"""The quicker of two is picked, the stalled is left at once and tried again later."""

import random
from collections import Counter

import pytest

from meshtrio.balance.ewma import DECAY_S, measured
from meshtrio.balance.member import Member
from meshtrio.balance.peak_ewma import PeakEwma
from tests.support.members import member, members, picks


def of(*there: Member) -> PeakEwma:
    chosen = PeakEwma(random.Random(1))
    chosen.replace(there)
    return chosen


def test_the_quicker_is_picked() -> None:
    assert set(picks(of(member("a", ewma_s=0.2), member("b", ewma_s=0.1)), 50)) == {"b"}


def test_the_load_counts_as_much_as_the_latency() -> None:
    assert set(picks(of(member("a", ewma_s=0.2), member("b", ewma_s=0.1, active=2)), 50)) == {"a"}


def test_load_counts_for_the_weight_compared_with_the_mean() -> None:
    heavy = member("heavy", 300, ewma_s=0.1, active=3)
    light = member("light", 100, ewma_s=0.1, active=2)
    assert set(picks(of(heavy, light), 50)) == {"heavy"}
    light.active = 0
    assert set(picks(of(heavy, light), 50)) == {"light"}


@pytest.mark.parametrize("ewma_s", [0.0, 0.1])
def test_equal_ones_share_by_weight(ewma_s: float) -> None:
    there = [member(name, weight, ewma_s=ewma_s) for name, weight in (("a", 1), ("b", 2), ("c", 3))]
    found = Counter(picks(of(*there), 6000))
    assert [found[name] for name in "abc"] == pytest.approx([1000, 2000, 3000], rel=0.1)


def test_the_stalled_is_left_at_once_and_tried_again() -> None:
    there = [member("stalled", ewma_s=0.01), *(member(f"m{at}", ewma_s=0.01) for at in range(3))]
    chosen = of(*there)
    measured(there[0], 1.0, 0.0)
    assert "stalled" not in picks(chosen, 200)
    tried_again = 0.0
    for tenth in range(1, 1000):
        for one in there[1:]:
            measured(one, 0.01, tenth / 10)
        if chosen.pick(tenth / 10, None, ()) is there[0]:
            tried_again = tenth / 10
            break
    # From 1 s to 0.01 s takes ln(100) time constants, and then the two must be drawn together.
    assert 4.6 * DECAY_S < tried_again < 7 * DECAY_S


@pytest.mark.parametrize("others_s", [0.001, 10.0])
def test_a_new_one_draws_its_share_and_not_all(others_s: float) -> None:
    there = [member(f"m{at}", ewma_s=others_s, active=1) for at in range(9)]
    new = member("new")
    chosen = of(*there, new)
    for _ in range(9):
        (name,) = picks(chosen, 1)
        new.active += name == "new"
    assert new.active <= 4
    new.active = 1
    assert 50 < picks(chosen, 1000).count("new") < 150
    new.active = 2
    assert "new" not in picks(chosen, 100)


def test_one_alone_is_picked_however_slow() -> None:
    assert picks(of(member("a", ewma_s=9.0, active=1000)), 2) == ["a", "a"]
    assert picks(of(*members("ab")), 2, {"a"}) == ["b", "b"]
