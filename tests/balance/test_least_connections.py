"""The least loaded is picked, and those equally loaded take turns."""

import random
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.ewma import DECAY_S
from meshtrio.balance.least_connections import SCAN, LeastConnections
from meshtrio.balance.member import Member
from tests.support.members import many, member, members, picks


def of(there: list[Member], start: int = 0) -> LeastConnections:
    least = LeastConnections(start, random.Random(1))
    least.replace(there)
    return least


@given(loads=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=SCAN))
def test_of_a_few_the_least_loaded_for_its_weight_is_picked(loads: list[tuple[int, int]]) -> None:
    there = [member(f"m{at}", weight, active=active) for at, (active, weight) in enumerate(loads)]
    picked = of(there).pick(0.0, None, ())
    assert picked is not None
    assert picked.active / picked.weight == min(active / weight for active, weight in loads)


@given(active=st.lists(st.integers(0, 50), min_size=SCAN + 1, max_size=40, unique=True))
def test_of_many_the_most_loaded_is_never_picked(active: list[int]) -> None:
    there = [member(f"m{at}", active=load) for at, load in enumerate(active)]
    least = of(there)
    worst = max(there, key=lambda one: one.active)
    assert worst.id not in picks(least, 50)


def test_of_many_weights_count_for_load() -> None:
    there = [member(f"m{at}", 10.0, active=9) for at in range(SCAN)] + [member("small", 1.0, active=1)]
    assert "small" not in picks(of(there), 200)


@pytest.mark.parametrize("count", [3, SCAN, SCAN + 1, 30])
def test_the_idle_share_by_weight(count: int) -> None:
    weights = {f"m{at}": 1.0 + at % 3 for at in range(count)}
    rounds = 600
    found = Counter(picks(of(members(weights)), int(sum(weights.values())) * rounds))
    exact = count <= SCAN
    for name, weight in weights.items():
        assert found[name] == pytest.approx(weight * rounds, rel=0 if exact else 0.15)


@pytest.mark.parametrize("workers", [3, 6])
def test_workers_that_know_the_same_do_not_choose_the_same(workers: int) -> None:
    firsts = Counter(picks(of(members("abc"), start), 1)[0] for start in range(workers))
    assert set(firsts.values()) == {workers // 3}


@pytest.mark.parametrize("count", [4, 40])
def test_calls_that_last_spread_evenly(count: int) -> None:
    there = many(count)
    least, held = of(there), deque[Member]()
    luck = random.Random(3)
    for _ in range(5000):
        picked = least.pick(0.0, None, ())
        assert picked is not None
        picked.active += 1
        held.append(picked)
        if len(held) > 10 * count:
            held.rotate(luck.randrange(len(held)))
            held.popleft().active -= 1
    assert max(one.active for one in there) <= (11 if count <= SCAN else 13)
    assert min(one.active for one in there) >= (9 if count <= SCAN else 6)


@pytest.mark.parametrize("others", [1, SCAN])
def test_of_equally_loaded_ones_the_much_slower_waits_until_its_latency_has_faded(others: int) -> None:
    there = [member("slow", ewma_s=1.0)] + [member(f"m{at}", ewma_s=0.1) for at in range(others)]
    least = of(there)
    assert "slow" not in picks(least, 100)
    for one in there[1:]:
        one.ewma_at = 2 * DECAY_S  # measured again, while nobody asked the slow one
    later = [least.pick(2 * DECAY_S, None, ()) for _ in range(100)]
    assert there[0] in later


@pytest.mark.parametrize("others", [1, SCAN])
def test_latencies_that_are_near_and_those_unknown_do_not_count(others: int) -> None:
    there = [member("m", ewma_s=0.19), member("new")]
    there += [member(f"m{at}", ewma_s=0.1) for at in range(others)]
    assert set(picks(of(there), 200)) == {one.id for one in there}


def test_turns_survive_a_change() -> None:
    least = of(members("abc"))
    assert picks(least, 2) == ["a", "b"]
    least.replace(members("abc"))
    assert picks(least, 2) == ["c", "a"]


def test_flapping_neither_favours_nor_starves() -> None:
    least, found = of(members("abc")), Counter[str]()
    for turn in range(300):
        least.replace(members("abc" if turn % 2 else "abcd"))
        found.update(picks(least, 4))
    assert max(found[name] for name in "abc") - min(found[name] for name in "abc") <= 100
    assert 50 <= found["d"] <= 200


def test_a_newcomer_does_not_wait_for_what_those_who_left_were_ahead() -> None:
    least = of(members("abc"))
    for _ in range(100):
        least.replace(members("abcd"))
        while picks(least, 1) != ["d"]:
            pass
        least.replace(members("abc"))
    least.replace(members("abce"))
    assert Counter(picks(least, 20))["e"] >= 4
