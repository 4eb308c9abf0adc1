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

SIZES = ((16, 8_191), (1_024, 32_749), (65_535, 65_537))
"""Up to so many members, so many slots. The larger the table, the fewer keys of others move when one leaves,
and the longer it takes to fill (tests/bench/balance.py has both). Where the number of members crosses from
one size to another, all keys move: rarely, and alike in all processes."""
PART = 8
STEP_SLOTS = 2_048
"""A step of filling takes this part of what is left, and not more than so many slots. For the last ones are
the dearest: with k slots left of n, whoever is next looks at n / k taken ones before it finds a free one."""


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
    filled = array("H")
    for filled in filling(members, size):  # noqa: B007 (the last one is the whole table)
        pass
    return filled


def filling(members: Sequence[tuple[str, float]], size: int) -> Iterator["array[int]"]:
    """Fill a table step by step: gives empty ones until the last, which is that of `table`."""
    if len(members) > size:
        raise ValueError(f"{len(members)} members do not fit into {size} slots")
    if not members:
        return
    order = sorted(range(len(members)), key=lambda index: members[index][0])
    hashes = [two_hashes(members[index][0].encode()) for index in order]
    at = [first % size for first, _ in hashes]
    steps = [second % (size - 1) + 1 for _, second in hashes]
    turns = _turns([members[index][1] for index in order])
    slots = [-1] * size
    left = size
    while left:
        yield array("H")
        count = min(STEP_SLOTS, -(-left // PART))
        left -= count
        for place in islice(turns, count):
            slot, step = at[place], steps[place]
            while slots[slot] >= 0:
                slot += step
                if slot >= size:
                    slot -= size
            slots[slot] = order[place]
            at[place] = slot
    yield array("H", slots)


def _turns(weights: Sequence[float]) -> Iterator[int]:
    """Say without end who fills the next slot: each at 0, 1, 2, ... times 1 / weight, ties by place."""
    if min(weights) == max(weights):
        yield from cycle(range(len(weights)))  # the same as below, and the paper's rounds
    turns = [(0.0, place) for place in range(len(weights))]
    while True:
        when, place = turns[0]
        yield place
        heapreplace(turns, (when + 1 / weights[place], place))


_Weights = list[tuple[str, float]]


class Maglev:
    """A key goes to the same member in every process that knows the same members and weights.

    When one of 100 leaves, under 1.2 % of the keys of others move as well; the ring moves none, but its
    shares are uneven by some per cent where these are even to the slot. When one is tried or full, its keys
    spread over the others: the next slot's owner has them. A pick takes constant time.

    Filling a table takes so long (tens of milliseconds for 1,000 members) that it would hold up all other
    connections of the worker. So only the first one is filled at once. After a change each pick fills a
    little of the next table, and meanwhile the one before holds, as if the news had come some dozens of
    picks later; only that nobody who is gone is picked. While changes come faster than that, a table that
    was begun is filled, and then the next one is for the newest: so nobody waits for quiet times.

    Calls without a key take turns, and are counted in `keyless`.
    """

    __slots__ = (
        "_circle",
        "_filled",
        "_filling",
        "_members",
        "_next",
        "_size",
        "_table",
        "_turns",
        "_wanted",
        "keyless",
    )

    def __init__(self, start: int, bound: float) -> None:
        self.keyless = 0
        self._turns = RoundRobin(start)
        self._circle = Circle(bound)
        self._members: dict[str, Member] = {}
        self._wanted: _Weights = []
        """Whom a table must know in the end."""
        self._table = array("H")
        self._size = 1
        self._filled: _Weights = []
        """Whom the table knows."""
        self._next: _Weights = []
        """Whom the next one will know, if one is begun."""
        self._filling: Iterator[array[int]] | None = None

    def replace(self, members: Sequence[Member]) -> None:
        """Choose among exactly these; their table is there after some picks, if it is not there already."""
        by_id = ordered(members)
        weights = [(member.id, member.weight) for member in by_id]
        table_size(len(weights))
        self._turns.replace(by_id)
        self._wanted, self._members = weights, {member.id: member for member in by_id}
        if self._members.keys().isdisjoint(name for name, _ in self._filled):
            self._finish()
            return
        if weights == self._filled:
            self._filling = None
        elif self._filling is None:
            self._begin()
        self._place()

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Give the key's member, or the owner of the next slot that was not tried; None if there is none."""
        if key is None:
            self.keyless += 1
            return self._turns.pick(now, None, tried)
        if self._filling is not None:
            self._go_on()
        picked = self._circle.owner(key % self._size, tried)
        if picked is None and self._filling is not None:
            self._finish()  # those who are left are new
            picked = self._circle.owner(key % self._size, tried)
        return picked

    def _begin(self) -> None:
        self._next = self._wanted
        self._filling = filling(self._next, table_size(len(self._next)))

    def _go_on(self) -> None:
        """Fill a little, and begin anew if others are wanted by the time a table is full."""
        assert self._filling is not None
        filled = next(self._filling)
        if not filled:
            return
        self._know(filled, self._next)
        if self._next != self._wanted:
            self._begin()

    def _finish(self) -> None:
        """Fill the table of those who are wanted, at once."""
        self._know(table(self._wanted, table_size(len(self._wanted))), self._wanted)

    def _know(self, filled: "array[int]", whom: _Weights) -> None:
        self._table, self._filled, self._filling = filled, whom, None
        self._size = len(filled) or 1
        self._place()

    def _place(self) -> None:
        members = self._members
        there = {at: members[name] for at, (name, _) in enumerate(self._filled) if name in members}
        self._circle.replace(self._table, there)
