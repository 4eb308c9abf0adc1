"""Shares are exact over whole rounds, and within one pick of exact at any time."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance import weighted
from meshtrio.balance.weighted import Weighted
from tests.support.members import many, members, picks

WEIGHT = st.one_of(st.integers(1, 100).map(float), st.floats(0.01, 100))


def of(weights: dict[str, float], start: int = 0) -> Weighted:
    chosen = Weighted(start, random.Random(1))
    chosen.replace(members(weights))
    return chosen


@pytest.mark.parametrize("start", [0, 1, 5])
def test_one_to_two_to_three(start: int) -> None:
    assert Counter(picks(of({"a": 1, "b": 2, "c": 3}, start), 600)) == {"a": 100, "b": 200, "c": 300}


def test_a_heavy_one_is_spread_among_the_light() -> None:
    # The case that a plain heap of deadlines serves in one run of a hundred.
    light = {f"m{at:03}": 1.0 for at in range(100)}
    order = picks(of(light | {"heavy": 100.0}), 200)
    assert order[::2] == ["heavy"] * 100
    assert len(set(order)) == 101


@given(st.lists(WEIGHT, min_size=1, max_size=12), st.integers(1, 300))
def test_everyone_is_within_a_pick_of_its_share_at_any_time(values: list[float], count: int) -> None:
    weights = {f"m{at:02}": weight for at, weight in enumerate(values)}
    chosen, found, total = of(weights), Counter[str](), sum(values)
    for done in range(1, count + 1):
        found.update(picks(chosen, 1))
        for name, weight in weights.items():
            assert abs(found[name] - done * weight / total) <= 1.001


@given(st.lists(st.integers(1, 20), min_size=1, max_size=10), st.integers(1, 3))
def test_whole_rounds_are_exact(values: list[int], rounds: int) -> None:
    weights = {f"m{at}": float(weight) for at, weight in enumerate(values)}
    found = Counter(picks(of(weights), sum(values) * rounds))
    assert found == {name: weight * rounds for name, weight in weights.items()}


def test_a_thousand_members_have_exact_rounds() -> None:
    chosen = Weighted(0, random.Random(1))
    there = many(1000)
    for at, one in enumerate(there):
        one.weight = 1.0 + at % 7
    chosen.replace(there)
    found = Counter(picks(chosen, 3 * int(sum(one.weight for one in there))))
    assert all(found[one.id] == 3 * one.weight for one in there)


def test_a_new_beginning_of_time_changes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {"a": 0.3, "b": 2.0, "c": 3.7}
    expected = picks(of(weights), 300)
    monkeypatch.setattr(weighted, "REBASE", 7)
    assert picks(of(weights), 300) == expected


def test_telling_the_same_again_changes_no_turn() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 3.0}
    chosen, found = of(weights), []
    for _ in range(20):
        found += picks(chosen, 1)
        chosen.replace(members(weights))
    assert found == picks(of(weights), 20)


@given(
    steps=st.lists(
        st.tuples(st.dictionaries(st.sampled_from("abxyz"), WEIGHT), st.integers(0, 9)), max_size=20
    )
)
def test_those_who_stay_have_their_share_while_others_come_and_go(
    steps: list[tuple[dict[str, float], int]],
) -> None:
    chosen, found = Weighted(0, random.Random(1)), Counter("mn")
    for others, count in steps:
        chosen.replace(members(others | {"m": 5.0, "n": 5.0}))
        found.update(picks(chosen, count))
    # Equal weights are equally far behind whenever others take or leave a debt.
    assert abs(found["m"] - found["n"]) <= 2


@given(changes=st.lists(st.tuples(WEIGHT, st.integers(0, 9)), max_size=20))
def test_nobody_runs_away_or_falls_behind_while_weights_change(changes: list[tuple[float, int]]) -> None:
    chosen = Weighted(0, random.Random(1))
    for weight, count in changes:
        chosen.replace(members({"a": weight, "b": 1.0, "c": 2.0}))
        picks(chosen, count)
    weights = {"a": 3.0, "b": 1.0, "c": 2.0}
    chosen.replace(members(weights))
    found = Counter(picks(chosen, 60))
    for name, weight in weights.items():
        assert abs(found[name] - 10 * weight) <= 2


def test_second_tries_move_nobodys_turn_and_follow_the_weights() -> None:
    chosen = of({"a": 1, "b": 2, "c": 3})
    found, again = Counter[str](), Counter[str]()
    for _ in range(600):
        (first,) = picks(chosen, 1)
        found[first] += 1
        if first == "c":
            again.update(picks(chosen, 1, {"c"}))
    assert found == {"a": 100, "b": 200, "c": 300}
    assert again["b"] == pytest.approx(200, rel=0.2)
    assert again.keys() == {"a", "b"}


def test_those_who_leave_right_after_their_turn_leave_no_debt() -> None:
    weights = {f"m{at:03}": 1.0 for at in range(100)} | {"heavy": 100.0}
    chosen = of(weights)
    for _ in range(300):
        chosen.replace(members(weights | {"flaps": 50.0}))
        while picks(chosen, 1) != ["flaps"]:
            pass
        chosen.replace(members(weights))
    order = picks(chosen, 200)
    assert 95 <= order.count("heavy") <= 105
    assert max(len(run) for run in "".join(name[0] for name in order).split("h")) <= 3


def test_where_all_who_stay_are_ahead_a_newcomer_has_no_run_of_turns() -> None:
    served = {f"a{at:03}": 1.0 for at in range(100)}
    chosen = of(served | {f"b{at:03}": 1.0 for at in range(100)})
    assert set(picks(chosen, 100)) == set(served)
    chosen.replace(members(served | {"heavy": 100.0}))
    order = picks(chosen, 200)
    assert order.count("heavy") == 100
    assert "heavyheavyheavy" not in "".join(order)


def test_who_is_behind_and_weighs_more_now_has_no_run_of_turns() -> None:
    served = {f"a{at:03}": 1.0 for at in range(100)}
    chosen = of(served | {"heavy": 1.0} | {f"z{at:03}": 1.0 for at in range(100)})
    assert set(picks(chosen, 100)) == set(served)
    chosen.replace(members(served | {"heavy": 100.0}))
    order = picks(chosen, 200)
    assert 95 <= order.count("heavy") <= 105
    assert max(len(run) for run in "".join(name[0] for name in order).split("a")) <= 4
