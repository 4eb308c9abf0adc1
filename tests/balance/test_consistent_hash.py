"""A key stays where it is unless its own member goes."""

import random
from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtrio.balance.consistent_hash import PLACES, RING_BOUND, ConsistentHash
from meshtrio.balance.hashing import four_hashes
from meshtrio.balance.member import Member
from tests.support.members import many, member, members, picks

LUCK = random.Random(1)
KEYS = [LUCK.getrandbits(64) for _ in range(20_000)]
NAMES = st.sampled_from("abcdefg")
WEIGHTS = st.floats(0.02, 3)


def of(there: list[Member], bound: float = 0) -> ConsistentHash:
    ring = ConsistentHash(0, bound)
    ring.replace(there)
    return ring


def owners(ring: ConsistentHash, keys: list[int] = KEYS) -> list[str]:
    return [picked.id for key in keys if (picked := ring.pick(0.0, key, ())) is not None]


def few(place: bytes) -> tuple[int, ...]:
    """Hash so badly that places collide."""
    return tuple(one % 50 for one in four_hashes(place))


def model(weights: dict[str, float], keys: range) -> list[str]:
    """Say who has each key, from the words of the requirement alone."""
    places = sorted(
        (few(f"{name}:{index // 4}".encode())[index % 4], name)
        for name, weight in weights.items()
        for index in range(max(1, round(PLACES * weight)))
    )
    return [places[bisect_left(places, (key, "")) % len(places)][1] for key in keys]


@given(st.lists(st.dictionaries(NAMES, WEIGHTS, min_size=1), min_size=1, max_size=6))
@settings(deadline=None)
def test_changes_step_by_step_end_where_the_words_say(steps: list[dict[str, float]]) -> None:
    ring = ConsistentHash(0, 0, few)
    for weights in steps:
        ring.replace(members(weights))
    assert owners(ring, list(range(52))) == model(steps[-1], range(52))


def test_who_leaves_gives_its_keys_to_all_and_no_other_key_moves() -> None:
    there = many(100)
    ring = of(there)
    before = owners(ring)
    gone = there.pop(42)
    ring.replace(there)
    after = owners(ring)
    heirs = {now for was, now in zip(before, after, strict=True) if was == gone.id}
    assert [now for was, now in zip(before, after, strict=True) if was not in (gone.id, now)] == []
    assert len(heirs) > 30
    ring.replace([*there, gone])
    assert owners(ring) == before


def test_who_comes_takes_keys_and_no_other_key_moves() -> None:
    there = many(20)
    ring = of(there)
    before = owners(ring)
    ring.replace([*there, member("new")])
    moved = {now for was, now in zip(before, owners(ring), strict=True) if was != now}
    assert moved == {"new"}


def test_shares_follow_the_weights_about() -> None:
    found = Counter(owners(of(members({"a": 1, "b": 2, "c": 3}))))
    for name, weight in (("a", 1), ("b", 2), ("c", 3)):
        assert found[name] == pytest.approx(len(KEYS) * weight / 6, rel=0.25)


def test_a_tried_members_keys_go_where_they_would_without_it() -> None:
    there = many(10)
    ring, without = of(there), of(there[1:])
    for key in KEYS[:2000]:
        first = ring.pick(0.0, key, ())
        assert first is not None
        if first is there[0]:
            assert ring.pick(0.0, key, {first.id}) is without.pick(0.0, key, ())


@pytest.mark.parametrize(("count", "weight"), [(1000, 1.0), (20, 300.0), (RING_BOUND // 8, 1.0)])
def test_a_ring_has_a_bound_and_everyone_a_place(count: int, weight: float) -> None:
    there = many(count)
    for one in there:
        one.weight = weight
    ring = of(there)
    assert RING_BOUND / 4 < len(ring._hashes) <= RING_BOUND
    assert set(ring._owners) == set(range(count))


def test_beyond_the_bound_no_key_moves_but_those_of_places_that_are_gone() -> None:
    there = many(437)
    below, above = of(there[:436]), of(there)
    assert len(above._hashes) < len(below._hashes) <= RING_BOUND
    kept = set(above._hashes)
    at = [below._hashes[bisect_left(below._hashes, key) % len(below._hashes)] for key in KEYS]
    newcomer = there[436].id
    for key_at, was, now in zip(at, owners(below), owners(above), strict=True):
        assert now in (was, newcomer) or key_at not in kept


def test_a_bound_on_load_spreads_a_popular_key() -> None:
    there = many(10)
    ring = of(there, 1.25)
    for _ in range(100):
        picked = ring.pick(0.0, 7, ())
        assert picked is not None
        picked.active += 1
    assert max(one.active for one in there) == 13
    assert sum(one.active for one in there) == 100


def test_calls_without_a_key_take_turns_and_are_counted() -> None:
    ring = of(members("abc"))
    assert picks(ring, 4) == list("abca")
    assert ring.keyless == 4
    assert picks(ring, 1, {"a", "b"}) == ["c"]
