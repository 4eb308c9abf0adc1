"""Who has a place, when some were tried or are full."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.circle import Circle
from tests.support.members import many, members


def of(owners: str, bound: float = 0, **active: int) -> Circle:
    there = members(sorted(set(owners)))
    for one in there:
        one.active = active.get(one.id, 0)
    index = {one.id: at * 5 for at, one in enumerate(there)}
    circle = Circle(bound)
    circle.replace(array("I", [index[name] for name in owners]), {index[one.id]: one for one in there})
    return circle


def owner(circle: Circle, at: int, *tried: str) -> str | None:
    found = circle.owner(at, tried)
    return None if found is None else found.id


@pytest.mark.parametrize(
    ("at", "tried", "then"),
    [
        (0, "", "a"),
        (2, "", "b"),
        (6, "", "a"),
        (2, "b", "c"),
        (5, "c", "a"),
        (5, "ca", "b"),
        (1, "abc", None),
        (0, "xyz", "a"),
    ],
)
def test_the_next_that_was_not_tried_has_the_place(at: int, tried: str, then: str | None) -> None:
    assert owner(of("aabbcc"), at, *tried) == then


def test_nobody_owns_an_empty_circle() -> None:
    assert owner(Circle(0), 0) is None
    assert owner(of(""), 0, "a") is None


def test_who_is_full_passes_its_calls_on() -> None:
    # 9 connections with the new one: 3 each, and 1.5 times that is 4.5, so 5.
    assert owner(of("abc", 1.5, a=4, b=4), 0) == "a"
    assert owner(of("abc", 1.5, a=5, b=3), 0) == "b"
    assert owner(of("abc", 1.5, a=5, b=3), 0, "b") == "c"
    assert owner(of("abc", a=5), 0) == "a"


def test_the_first_that_is_full_has_it_if_all_others_were_tried() -> None:
    assert owner(of("abc", 1.05, b=9), 0, "a", "c") == "b"


@given(keys=st.lists(st.integers(0, 63), min_size=1, max_size=300), bound=st.floats(1.05, 10))
def test_nobody_holds_more_than_the_bound(keys: list[int], bound: float) -> None:
    there = members({f"m{at:02}": 1.0 + at % 3 for at in range(12)})
    total = sum(one.weight for one in there)
    circle = Circle(bound)
    circle.replace(array("I", [at * at % 12 for at in range(64)] + list(range(12))), dict(enumerate(there)))
    for count, key in enumerate(keys, 1):
        picked = circle.owner(key, ())
        assert picked is not None
        picked.active += 1
        assert picked.active < bound * count * picked.weight / total + 1


def test_connections_are_counted_again_in_a_while() -> None:
    there = many(160)
    circle = Circle(1.05)
    circle.replace(array("I", range(160)), dict(enumerate(there)))
    for one in there:
        one.active = 1
    assert owner(circle, 0) == there[0].id
    for one in there[1:]:
        one.active = 0
    # By the old count of 160 each may hold 2, by the true one of 2 each may hold 1.
    there[0].active = 1
    assert [owner(circle, 0) for _ in range(11)] == 10 * [there[0].id] + [there[1].id]


def test_places_of_who_is_gone_are_passed_over() -> None:
    there = members("ab")
    circle = Circle(0)
    circle.replace(array("I", [7, 0, 7, 1, 7]), dict(enumerate(there)))
    assert [owner(circle, at) for at in range(6)] == ["a", "a", "b", "b", "a", "a"]
    assert owner(circle, 2, "b") == "a"
    assert owner(circle, 0, "a", "b") is None
