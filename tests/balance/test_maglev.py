"""The table is what the paper says, alike everywhere, and moves few keys."""

import random
from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshtrio.balance.hashing import two_hashes
from meshtrio.balance.maglev import SIZES, Maglev, table, table_size
from meshtrio.balance.member import Member
from tests.support.members import many, member, members, picks

Weights = list[tuple[str, float]]


def even(count: int) -> Weights:
    return [(one.id, 1.0) for one in many(count)]


def paper(names: list[str], size: int) -> list[str]:
    """Populate as in the paper's pseudocode, with whole permutations."""
    orders = {}
    for name in names:
        first, second = two_hashes(name.encode())
        offset, skip = first % size, second % (size - 1) + 1
        orders[name] = iter([(offset + at * skip) % size for at in range(size)])
    entry: dict[int, str] = {}
    while True:
        for name in sorted(names):
            slot = next(slot for slot in orders[name] if slot not in entry)
            entry[slot] = name
            if len(entry) == size:
                return [entry[slot] for slot in range(size)]


@given(st.sets(st.text("abcdef", min_size=1), min_size=1, max_size=13), st.sampled_from([13, 101, 251]))
def test_with_equal_weights_it_is_the_papers(names: set[str], size: int) -> None:
    weights = [(name, 0.7) for name in names]
    assert [weights[index][0] for index in table(weights, size)] == paper(sorted(names), size)


def test_the_hash_is_fixed() -> None:
    # Kernel maps outlive a process: another table after an upgrade would move every sticky caller.
    assert list(table([("a", 1.0), ("b", 2.0), ("c", 1.0)], 13)) == [2, 2, 1, 1, 1, 0, 0, 2, 1, 1, 1, 0, 0]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30), st.sampled_from([101, 1021]), st.randoms())
@settings(deadline=None)
def test_shares_follow_the_weights_to_the_slot(values: list[float], size: int, luck: random.Random) -> None:
    weights = [(f"m{at}", weight) for at, weight in enumerate(values)]
    found, total = Counter(table(weights, size)), sum(values)
    for at, weight in enumerate(values):
        # Each has one slot before any has its second, so where many weigh little the heavy have fewer.
        assert 1 <= found[at] <= size * weight / total + 1.001
        assert found[at] >= (size - len(values)) * weight / total - 0.001
    shuffled = luck.sample(weights, len(weights))
    assert [shuffled[index] for index in table(shuffled, size)] == [
        weights[index] for index in table(weights, size)
    ]


@pytest.mark.parametrize("gone", [0, 42, 99])
def test_one_of_a_hundred_leaves_and_few_keys_of_others_move(gone: int) -> None:
    before, size = even(100), table_size(100)
    after = before[:gone] + before[gone + 1 :]
    moved = sum(
        before[was] != after[now] and was != gone
        for was, now in zip(table(before, size), table(after, size), strict=True)
    )
    assert moved / size <= 0.012


def test_sizes_are_primes_that_hold_the_members() -> None:
    for most, size in SIZES:
        assert table_size(most) == size
        assert all(size % divisor for divisor in range(2, int(size**0.5) + 1))
    assert [table_size(count) for count in (0, 1, 17, 1025)] == [8191, 8191, 32749, 65537]
    with pytest.raises(ValueError, match=r"65536 members are too many for maglev \(want 65,535 at most\)"):
        table_size(65_536)


def test_a_table_of_nobody_is_empty_and_one_too_small_is_refused() -> None:
    assert table([], 13) == array("H")
    assert sorted(table(even(13), 13)) == list(range(13))
    with pytest.raises(ValueError, match="14 members do not fit into 13 slots"):
        table(even(14), 13)


def of(there: list[Member], bound: float = 0) -> Maglev:
    chosen = Maglev(0, bound)
    chosen.replace(there)
    return chosen


def test_a_pick_is_the_tables() -> None:
    there = many(20)
    chosen, filled = of(there), table(even(20), table_size(20))
    for key in (0, 1, 2**64 - 1, 12345678901234567890):
        assert chosen.pick(0.0, key, ()) is there[filled[key % len(filled)]]


def test_what_was_tried_spreads_over_the_others() -> None:
    there = many(10)
    chosen = of(there)
    keys = [key for key in range(8191) if chosen.pick(0.0, key, ()) is there[0]]
    heirs = Counter(picked.id for key in keys if (picked := chosen.pick(0.0, key, {there[0].id})))
    assert len(heirs) == 9
    assert max(heirs.values()) < 2 * len(keys) / 9


def picked_by(chosen: Maglev, key: int) -> str:
    picked = chosen.pick(0.0, key, ())
    assert picked is not None
    return picked.id


def until_filled(chosen: Maglev) -> int:
    """Pick until no table is being filled, and say how often."""
    for count in range(500):
        if chosen._filling is None:
            return count
        chosen.pick(0.0, 1, ())
    raise AssertionError("500 picks do not fill a table")


def test_after_a_change_picks_fill_the_next_table_and_nobody_who_is_gone_is_picked() -> None:
    there = many(100)
    chosen, luck = of(there), random.Random(1)
    gone, new = there[42].id, member("zzz")
    before = table(even(100), table_size(100))
    after = [*there[:42], *there[43:], new]
    chosen.replace(after)
    for _ in range(10):
        key = luck.getrandbits(64)
        was = there[before[key % len(before)]].id
        assert picked_by(chosen, key) not in (gone, new.id)
        assert was == gone or picked_by(chosen, key) == was
    assert until_filled(chosen) > 20, "the work is in many parts"
    filled = table([(one.id, 1.0) for one in after], table_size(100))
    for _ in range(200):
        key = luck.getrandbits(64)
        assert picked_by(chosen, key) == after[filled[key % len(filled)]].id


def test_changes_that_come_faster_than_tables_are_filled_starve_nobody() -> None:
    there = many(30)
    chosen, luck = of(there[:20]), random.Random(1)
    seen = set()
    for count in range(21, 200):
        chosen.replace(there[: 20 + count % 2 + count % 9])
        seen |= {picked_by(chosen, key) for key in (luck.getrandbits(64) for _ in range(10))}
    assert there[20].id in seen
    chosen.replace(there)
    until_filled(chosen)
    assert {picked_by(chosen, key) for key in range(32_749)} == {one.id for one in there}


def test_whoever_comes_back_at_once_finds_the_table_as_it_was() -> None:
    there = many(20)
    chosen = of(there)
    chosen.replace(there[1:])
    chosen.pick(0.0, 1, ())
    chosen.replace(there)
    assert until_filled(chosen) == 0
    assert {picked_by(chosen, key) for key in range(32_749)} == {one.id for one in there}


def test_who_is_new_is_picked_at_once_where_nobody_else_is_left() -> None:
    there = many(3)
    chosen = of(there[:2])
    chosen.replace(there)
    last = chosen.pick(0.0, 5, {there[0].id, there[1].id})
    assert last is there[2]
    assert chosen.pick(0.0, 5, {one.id for one in there}) is None
    new = [member("x"), member("y")]
    chosen.replace(new)
    assert picked_by(chosen, 5) in {"x", "y"}
    chosen.replace([])
    assert chosen.pick(0.0, 5, ()) is None
    chosen.replace(new)
    assert picked_by(chosen, 5) in {"x", "y"}


def test_new_members_of_the_same_ids_are_those_picked() -> None:
    chosen, there = of(members("ab")), members("ab")
    chosen.replace(there)
    assert chosen.pick(0.0, 1, ()) in there


def test_a_bound_on_load_spreads_a_popular_key() -> None:
    there = many(10)
    chosen = of(there, 1.25)
    for _ in range(100):
        picked = chosen.pick(0.0, 7, ())
        assert picked is not None
        picked.active += 1
    assert max(one.active for one in there) == 13


def test_too_many_are_refused_and_those_before_stay() -> None:
    chosen = of(members("ab"))
    with pytest.raises(ValueError, match="too many"):
        chosen.replace([*members("ab"), *(member(str(number)) for number in range(65_536))])
    assert picks(chosen, 4) == list("abab")
    assert {picked.id for key in range(99) if (picked := chosen.pick(0.0, key, ()))} == {"a", "b"}


def test_calls_without_a_key_take_turns_and_are_counted() -> None:
    chosen = of(members("abc"))
    assert picks(chosen, 4) == list("abca")
    assert chosen.keyless == 4
