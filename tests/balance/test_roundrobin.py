"""Turns are fair, also while endpoints come and go."""

import time
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.balance.roundrobin import RoundRobin, Turns
from meshtrio.catalog.service import Endpoint, Health


def endpoint(name: str, *, draining: bool = False, health: Health = Health.HEALTHY) -> Endpoint:
    return Endpoint(name, Address.of("10.0.0.1", 80), draining=draining, health=health)


def ring(names: str) -> tuple[Endpoint, ...]:
    return tuple(map(endpoint, names))


def picks(turns: RoundRobin, endpoints: tuple[Endpoint, ...], count: int) -> str:
    return "".join(picked.id for _ in range(count) if (picked := turns.pick(endpoints)))


def test_nine_picks_over_three_are_three_each() -> None:
    assert picks(RoundRobin(), ring("abc"), 9) == "abcabcabc"


@pytest.mark.parametrize(("start", "first"), [(0, "abc"), (1, "bca"), (5, "cab")])
def test_workers_begin_at_different_places(start: int, first: str) -> None:
    assert picks(RoundRobin(start), ring("abc"), 3) == first


def test_the_start_holds_until_the_first_pick() -> None:
    turns = RoundRobin(1)
    assert turns.pick(()) is None
    assert picks(turns, ring("abc"), 2) == "bc"


def test_the_order_of_the_source_does_not_matter() -> None:
    turns = RoundRobin()
    assert picks(turns, ring("abcd"), 2) + picks(turns, ring("dcba"), 2) == "abcd"


@pytest.mark.parametrize(
    ("before", "count", "after", "then"),
    [
        ("abc", 1, "ac", "ca"),
        ("abc", 1, "bc", "bc"),
        ("abc", 2, "abcd", "cdab"),
        ("abc", 3, "bcd", "dbc"),
        ("bcd", 1, "abcd", "cdab"),
        ("abc", 2, "xyz", "xyz"),
        ("xyz", 2, "abc", "abc"),
    ],
)
def test_a_change_skips_nobody_and_serves_nobody_twice(
    before: str, count: int, after: str, then: str
) -> None:
    turns = RoundRobin()
    picks(turns, ring(before), count)
    assert picks(turns, ring(after), len(then)) == then


def test_what_was_tried_is_passed_over_until_none_is_left() -> None:
    turns, endpoints = RoundRobin(), ring("abc")
    tried: set[str] = set()
    order = ""
    while (picked := turns.pick(endpoints, tried)) is not None:
        tried.add(picked.id)
        order += picked.id
    assert order == "abc"
    # Further tries have turns of their own: who comes next gets the turn after the first pick.
    assert picks(turns, endpoints, 3) == "bca"


def test_one_dead_endpoint_of_two_is_met_by_every_second_caller_only() -> None:
    turns, endpoints = RoundRobin(), ring("ab")
    met = ""
    for _ in range(6):
        first = turns.pick(endpoints)
        assert first is not None
        met += first.id
        if first.id == "a":
            second = turns.pick(endpoints, ["a"])
            assert second is not None
            assert second.id == "b"
    assert met == "ababab"


def test_what_a_dead_endpoint_leaves_is_shared_by_the_others() -> None:
    turns, endpoints = RoundRobin(), ring("abc")
    served = ""
    for _ in range(12):
        first = turns.pick(endpoints)
        assert first is not None
        picked = turns.pick(endpoints, ["a"]) if first.id == "a" else first
        assert picked is not None
        served += picked.id
    assert (served.count("b"), served.count("c")) == (6, 6)


def test_a_failing_endpoint_does_not_load_its_neighbour_alone() -> None:
    turns, endpoints = RoundRobin(), ring("abcd")
    landed: Counter[str] = Counter()
    for _ in range(300):
        picked = turns.pick(endpoints)
        assert picked is not None
        if picked.id == "a":
            picked = turns.pick(endpoints, {"a"})
            assert picked is not None
        landed[picked.id] += 1
    assert landed == {"b": 100, "c": 100, "d": 100}


@pytest.mark.parametrize("bad", [endpoint("b", draining=True), endpoint("b", health=Health.UNHEALTHY)])
def test_who_is_not_ready_is_the_last_resort(bad: Endpoint) -> None:
    turns, endpoints = RoundRobin(), (endpoint("a"), bad, endpoint("c"))
    assert picks(turns, endpoints, 4) == "acac"
    assert turns.pick(endpoints, {"a", "c"}) is bad
    assert turns.pick(endpoints, {"a", "b", "c"}) is None
    assert picks(turns, (bad,), 2) == "bb"


def test_an_endpoint_that_recovers_is_in_again() -> None:
    turns = RoundRobin()
    ill = msgspec.structs.replace(endpoint("b"), health=Health.UNHEALTHY)
    assert picks(turns, (endpoint("a"), ill), 3) == "aaa"
    assert picks(turns, ring("ab"), 4) == "baba"


@given(
    steps=st.lists(st.tuples(st.sets(st.sampled_from("abxyz")), st.integers(0, 7)), max_size=12),
    start=st.integers(0, 10),
)
def test_those_who_stay_differ_by_one_at_most(steps: list[tuple[set[str], int]], start: int) -> None:
    turns, counts = RoundRobin(start), Counter("mno")
    for others, count in steps:
        counts.update(picks(turns, ring("".join({*others, *"mno"})), count))
    stayed = [counts[name] for name in "mno"]
    assert max(stayed) - min(stayed) <= 1


@given(size=st.integers(1, 20), rounds=st.integers(1, 5), start=st.integers(0, 30))
def test_whole_rounds_are_exactly_fair(size: int, rounds: int, start: int) -> None:
    endpoints = ring("abcdefghijklmnopqrst"[:size])
    counts = Counter(picks(RoundRobin(start), endpoints, size * rounds))
    assert set(counts.values()) == {rounds}
    assert len(counts) == size


def test_a_pick_does_not_cost_the_number_of_endpoints() -> None:
    turns, endpoints = RoundRobin(), tuple(endpoint(str(number)) for number in range(1000))
    began_s = time.process_time()
    for _ in range(20_000):
        turns.pick(endpoints)
    # Sorting each time would take 20,000 times 200 us.
    assert time.process_time() - began_s < 1


def test_each_name_has_its_own_turns() -> None:
    turns, endpoints = Turns(), ring("abc")
    assert picks(turns.of("web"), endpoints, 2) == "ab"
    assert picks(turns.of("db"), endpoints, 1) == "a"
    assert picks(turns.of("web"), endpoints, 1) == "c"
    turns.forget("web")
    turns.forget("never asked for")
    assert len(turns) == 1
    assert picks(turns.of("web"), endpoints, 1) == "a"


def test_the_turns_of_a_worker_begin_where_it_says() -> None:
    assert picks(Turns(2).of("web"), ring("abc"), 1) == "c"
