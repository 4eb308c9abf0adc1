"""Slow start where the kernel picks: who is starting, and when that is to be written."""

import pytest

from meshtrio.balance.starting import Starting

WEB = "default/web:http"


@pytest.fixture
def starting() -> Starting:
    made = Starting()
    made.see(WEB, ["a", "b"], 100, 30)
    return made


def test_nobody_starts_who_was_there_at_first(starting: Starting) -> None:
    assert starting.tenths(WEB) == {}
    assert starting.due(130) == []
    assert starting.tenths("default/other:http") == {}


def test_who_comes_gets_a_tenth_and_in_ten_steps_all(starting: Starting) -> None:
    written, now = [], 200.0
    starting.see(WEB, ["a", "b", "c"], now, 30)
    written.append((now, starting.tenths(WEB)))
    while now < 300:
        now += 0.25
        if starting.due(now):
            starting.see(WEB, ["a", "b", "c"], now, 30)
            written.append((now, starting.tenths(WEB)))
    assert [tenths for _, tenths in written] == [*({"c": count} for count in range(1, 10)), {}]
    assert [at for at, _ in written] == [200, 204, 207, 210, 214, 217, 220, 224, 227, 230]


def test_who_leaves_and_comes_back_starts_again(starting: Starting) -> None:
    starting.see(WEB, ["a"], 200, 10)
    assert starting.tenths(WEB) == {}
    starting.see(WEB, ["a", "b"], 201, 10)
    assert starting.tenths(WEB) == {"b": 1}
    starting.see(WEB, ["a"], 202, 10)
    assert starting.tenths(WEB) == {}
    assert starting.due(300) == []


def test_who_was_told_longest_ago_is_due_first() -> None:
    starting = Starting()
    for name in "xyz":
        starting.see(name, ["a"], 100, 10)
        starting.see(name, ["a", "b"], 100, 10)
    assert starting.due(101) == []
    assert starting.due(102) == ["x", "y", "z"]
    starting.see("x", ["a", "b"], 102, 10)
    assert starting.due(102) == ["y", "z"]
    assert starting.due(110) == ["y", "z", "x"]


def test_without_a_ramp_nobody_starts() -> None:
    starting = Starting()
    starting.see(WEB, ["a"], 100, 0)
    starting.see(WEB, ["a", "b"], 101, 0)
    assert starting.tenths(WEB) == {}


def test_a_ramp_that_is_switched_off_ends(starting: Starting) -> None:
    starting.see(WEB, ["a", "b", "c"], 200, 30)
    starting.see(WEB, ["a", "b", "c"], 201, 0)
    assert starting.tenths(WEB) == {}
    assert starting.due(300) == []


def test_what_is_there_no_more_is_forgotten(starting: Starting) -> None:
    starting.see(WEB, ["a", "b", "c"], 200, 30)
    starting.retain(lambda name: name != WEB)
    assert starting.tenths(WEB) == {}
    starting.see(WEB, ["a", "b", "c", "d"], 201, 30)
    assert starting.tenths(WEB) == {}, "all are new"


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch, starting: Starting) -> None:
    monkeypatch.setattr("meshtrio.balance.starting.PORTS_BOUND", 1)
    for usable in (["a"], ["a", "b"]):
        starting.see("default/other:http", usable, 200, 30)
        starting.see(WEB, [*usable, "c"], 200, 30)
    assert starting.tenths("default/other:http") == {}
    assert starting.tenths(WEB) == {"b": 1, "c": 1}
