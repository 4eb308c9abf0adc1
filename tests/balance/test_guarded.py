"""Whatever an algorithm does, somebody is picked, and it is counted."""

from collections import Counter
from collections.abc import Collection, Sequence
from random import Random
from typing import Any

import pytest

from meshtrio.balance import guarded
from meshtrio.balance.algorithm import NAMES, Algorithm, make
from meshtrio.balance.guarded import FAILED, NO_KEY, Guarded
from meshtrio.balance.member import Member
from meshtrio.config.traffic import Settings
from tests.support.endpoints import endpoint


def members(names: str, weight: float = 1.0) -> list[Member]:
    return [Member(endpoint(name), weight) for name in names]


def lot(algorithm: Any, names: str = "abc") -> tuple[Guarded, Counter[str]]:
    remarks: Counter[str] = Counter()
    made = Guarded(Settings(algorithm=algorithm), 0, Random(1), remarks)
    made.replace(members(names))
    return made, remarks


def picks(lot: Guarded, count: int, key: int | None = None) -> str:
    return "".join(picked.id for _ in range(count) if (picked := lot.pick(0.0, key, ())))


class Broken:
    """An algorithm that fails where it is told to."""

    def __init__(self, *, replace: bool = False, pick: bool = False) -> None:
        self._fails_at_replace, self._fails_at_pick = replace, pick

    def replace(self, members: Sequence[Member]) -> None:
        if self._fails_at_replace:
            raise ZeroDivisionError

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        if self._fails_at_pick:
            raise IndexError
        return None


def break_down(monkeypatch: pytest.MonkeyPatch, *names: str, **where: bool) -> None:
    def broken(name: str, **words: Any) -> Algorithm:
        return Broken(**where) if name in names else make(name, **words)

    monkeypatch.setattr(guarded, "make", broken)


@pytest.mark.parametrize("name", NAMES)
def test_each_algorithm_is_asked(name: str) -> None:
    made, remarks = lot(name)
    assert set(picks(made, 3, key=1)) <= set("abc")
    assert remarks == {}
    assert made.pick(0.0, 1, "abc") is None
    assert [one.id for one in made.members] == ["a", "b", "c"]


@pytest.mark.parametrize("where", ["replace", "pick"])
def test_round_robin_stands_in_until_the_members_change(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_down(monkeypatch, "peak_ewma", **{where: True})
    made, remarks = lot("peak_ewma")
    assert picks(made, 6) == "abcabc"
    assert remarks == {FAILED: 1}
    made.replace(members("abcd"))
    assert picks(made, 4) == "dabc"
    assert remarks == {FAILED: 2}
    monkeypatch.undo()
    made.replace(members("ab"))
    assert set(picks(made, 4)) <= set("ab")
    assert remarks == {FAILED: 2}, "it was made anew, and works"


def test_luck_stands_in_for_round_robin(monkeypatch: pytest.MonkeyPatch) -> None:
    break_down(monkeypatch, "random", "round_robin", pick=True, replace=True)
    made, remarks = lot("random")
    assert set(picks(made, 100)) == set("abc")
    assert remarks[FAILED] == 101
    picked = made.pick(0.0, None, "ac")
    assert picked is not None
    assert picked.id == "b"
    assert made.pick(0.0, None, "abc") is None


@pytest.mark.parametrize("name", ["consistent_hash", "maglev"])
def test_calls_without_a_key_take_turns(name: str) -> None:
    made, remarks = lot(name)
    assert picks(made, 6) == "abcabc"
    assert remarks == {NO_KEY: 6}
    assert len(set(picks(made, 6, key=12345))) == 1
    assert remarks == {NO_KEY: 6}


def test_round_robin_minds_weights_while_they_differ_and_goes_on_after_that() -> None:
    made, _ = lot("round_robin")
    assert picks(made, 1) == "a"
    made.replace([*members("ab"), *members("c", 0.5)])
    assert Counter(picks(made, 10)) == {"a": 4, "b": 4, "c": 2}
    made.replace(members("abc"))
    assert picks(made, 3) == "bca"


def test_members_may_be_none() -> None:
    made, remarks = lot("weighted", "")
    assert made.pick(0.0, None, ()) is None
    made.replace(members("a"))
    assert picks(made, 2) == "aa"
    assert remarks == {}
