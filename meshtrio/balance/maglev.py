"""Core. The same key goes to the same member, by a table that every process fills alike.

Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4. The
table is what the kernel looks up, too, so everything about it is fixed here: a key's slot is its hash modulo
the size; the hashes of a member are the first and the second 8 bytes, big-endian, of the SHA-256 of its id;
members are ordered by id; sizes are primes that depend on the number of members alone.
"""

from array import array
from collections.abc import Collection, Iterator, Sequence
from heapq import heapreplace
from itertools import cycle, islice

from meshtrio.balance.circle import Circle
from meshtrio.balance.hashing import two_hashes
from meshtrio.balance.member import Member, ordered
from meshtrio.balance.round_robin import RoundRobin

SIZES = ((16, 8_191), (128, 32_749), (65_535, 65_537))
"""Up to so many members, so many slots. The larger the table, the fewer keys of others move when one leaves,
and the longer it takes to fill (tests/bench/balance.py has both). Where the number of members crosses from
one size to another, all keys move: rarely, and alike in all processes."""


def table_size(members: int) -> int:
    """Say how many slots the table of so many members has: a prime. ValueError above 65,535 members."""
    for most, size in SIZES:
        if members <= most:
            return size
    raise ValueError(f"{members} members are too many for maglev (want {SIZES[-1][0]:,} at most)")


def table(members: Sequence[tuple[str, float]], size: int) -> "array[int]":
    """Fill a table: for each slot the index in `members`, which are ids and weights above 0.

    Depends on ids, weights and `size` alone, not on the order of `members`. `size` is a prime and not below
    the number of members. Each has at least one slot, and else its share by weight to within about one slot.
    Empty if there are no members.
    """
    if len(members) > size:
        raise ValueError(f"{len(members)} members do not fit into {size} slots")
    if not members:
        return array("H")
    order = sorted(range(len(members)), key=lambda index: members[index][0])
    hashes = [two_hashes(members[index][0].encode()) for index in order]
    at = [first % size for first, _ in hashes]
    steps = [second % (size - 1) + 1 for _, second in hashes]
    slots = [-1] * size
    for place in islice(_turns([members[index][1] for index in order]), size):
        slot, step = at[place], steps[place]
        while slots[slot] >= 0:
            slot += step
            if slot >= size:
                slot -= size
        slots[slot] = order[place]
        at[place] = slot
    return array("H", slots)


def _turns(weights: Sequence[float]) -> Iterator[int]:
    """Say without end who fills the next slot: each at 0, 1, 2, ... times 1 / weight, ties by place."""
    if min(weights) == max(weights):
        yield from cycle(range(len(weights)))  # the same as below, and the paper's rounds
    turns = [(0.0, place) for place in range(len(weights))]
    while True:
        when, place = turns[0]
        yield place
        heapreplace(turns, (when + 1 / weights[place], place))


class Maglev:
    """A key goes to the same member in every process that knows the same members and weights.

    When one of 100 leaves, under 1.2 % of the keys of others move as well; the ring moves none, but its
    shares are uneven by some per cent where these are even to the slot. When one is tried or full, its keys
    spread over the others: the next slot's owner has them. A pick takes constant time, a change fills the
    whole table.

    Calls without a key take turns, and are counted in `keyless`.
    """

    __slots__ = ("_circle", "_size", "_table", "_turns", "_weights", "keyless")

    def __init__(self, start: int, bound: float) -> None:
        self.keyless = 0
        self._turns = RoundRobin(start)
        self._circle = Circle(bound)
        self._weights: list[tuple[str, float]] = []
        self._table = array("H")
        self._size = 1

    def replace(self, members: Sequence[Member]) -> None:
        """Fill the table for exactly these, unless they and their weights are as before."""
        by_id = ordered(members)
        weights = [(member.id, member.weight) for member in by_id]
        if weights != self._weights:
            self._size = table_size(len(weights))
            self._table, self._weights = table(weights, self._size), weights
        self._turns.replace(by_id)
        self._circle.replace(self._table, dict(enumerate(by_id)))

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Give the key's member, or the owner of the next slot that was not tried; None if there is none."""
        if key is None:
            self.keyless += 1
            return self._turns.pick(now, None, tried)
        return self._circle.owner(key % self._size, tried)
