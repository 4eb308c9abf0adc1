"""Core. The same key goes to the same member, by a ring with many places for each.

Karger et al., "Consistent Hashing and Random Trees" (1997), as libketama made it common: member "a" stands at
the four hashes of "a:0", the four of "a:1" and so on, and a key belongs to the first place at or after
its own hash. Who comes takes keys from all, who leaves gives its keys to all, and no other key moves.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence

from meshtrio.balance.circle import Circle
from meshtrio.balance.hashing import four_hashes
from meshtrio.balance.member import Member, ordered
from meshtrio.balance.round_robin import RoundRobin

PLACES = 150
"""Of a member on the ring, for each unit of weight: a share has a standard deviation of 8 % of itself."""
RING_BOUND = 65_536
"""Most places on a ring (800 KB, 0.1 s to build). Where the weights want more, all get half as many for each
unit, and half again, until it fits, but each at least one: shares stay in proportion and grow coarser. The
places that remain are where they were, so also then only keys of places that are gone move."""


_Place = tuple[int, str, int]
"""Its hash, the id of its member, and that member's index in `_owners`: as the ring is ordered."""


class ConsistentHash:
    """A key goes to the same member, whatever order they came in, in every worker and process.

    When one leaves, its own keys move and no others. When one is tried or full, the next clockwise has its
    keys. Places at the same hash belong to the least id. A pick takes O(log(places)); a change takes time for
    the places that come and go, not for the others, but for copying.

    Calls without a key take turns, and are counted in `keyless`.
    """

    __slots__ = ("_circle", "_hash", "_hashes", "_known", "_next", "_owners", "_turns", "keyless")

    def __init__(
        self, start: int, bound: float, hashing: Callable[[bytes], Sequence[int]] = four_hashes
    ) -> None:
        self.keyless = 0
        self._hash = hashing
        self._turns = RoundRobin(start)
        self._circle = Circle(bound)
        self._hashes = array("Q")
        self._owners = array("I")
        self._known: dict[str, tuple[int, int]] = {}
        """By id: its index in `_owners`, and how many places it has."""
        self._next = 0

    def replace(self, members: Sequence[Member]) -> None:
        """Let the ring belong to exactly these, as they weigh now."""
        by_id = ordered(members)
        self._turns.replace(by_id)
        want = _places(by_id)
        gone, come = [], []
        for name, (index, has) in self._known.items():
            gone += self._places(name, index, range(want.get(name, 0), has))
        known = {}
        for name, wants in want.items():
            index, has = self._known.get(name, (self._next, 0))
            self._next = max(self._next, index + 1)
            come += self._places(name, index, range(has, wants))
            known[name] = index, wants
        if gone:
            self._take_out(sorted(gone))
        names = {index: name for name, (index, _) in known.items()}
        self._put_in(sorted(come), names)
        self._known = known
        self._circle.replace(self._owners, {known[member.id][0]: member for member in by_id})

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Give the key's member, or the next clockwise that was not tried; None if there is none."""
        if key is None:
            self.keyless += 1
            return self._turns.pick(now, None, tried)
        return self._circle.owner(bisect_left(self._hashes, key), tried)

    def _places(self, name: str, index: int, numbers: range) -> list[_Place]:
        hashes: list[int] = []
        first = numbers.start // 4
        for four in range(first, -(-numbers.stop // 4)):
            hashes += self._hash(f"{name}:{four}".encode())
        return [(one, name, index) for one in hashes[numbers.start - 4 * first : numbers.stop - 4 * first]]

    def _take_out(self, places: list[_Place]) -> None:
        hashes, owners = self._hashes, self._owners
        kept_hashes, kept_owners = array("Q"), array("I")
        at = 0
        for place, _, owner in places:
            to = bisect_left(hashes, place, at)
            while owners[to] != owner:
                to += 1
            kept_hashes += hashes[at:to]
            kept_owners += owners[at:to]
            at = to + 1
        self._hashes, self._owners = kept_hashes + hashes[at:], kept_owners + owners[at:]

    def _put_in(self, places: list[_Place], names: dict[int, str]) -> None:
        hashes, owners = self._hashes, self._owners
        if not hashes:  # the same as below, in a third of the time: a worker stands still meanwhile
            self._hashes = array("Q", [place for place, _, _ in places])
            self._owners = array("I", [owner for _, _, owner in places])
            return
        all_hashes, all_owners = array("Q"), array("I")
        at = 0
        for place, name, owner in places:
            to = bisect_left(hashes, place, at)
            while to < len(hashes) and hashes[to] == place and names[owners[to]] < name:
                to += 1
            if to > at:
                all_hashes += hashes[at:to]
                all_owners += owners[at:to]
                at = to
            all_hashes.append(place)
            all_owners.append(owner)
        self._hashes, self._owners = all_hashes + hashes[at:], all_owners + owners[at:]


def _places(members: Sequence[Member]) -> dict[str, int]:
    """Say how many places each has, by id; RING_BOUND of them at most, or one for each member."""
    each = float(PLACES)
    while True:
        places = {member.id: max(1, round(member.weight * each)) for member in members}
        total = sum(places.values())
        if total <= max(RING_BOUND, len(places)):
            return places
        each /= 2
