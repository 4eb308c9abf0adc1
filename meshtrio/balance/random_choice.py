"""Core. Draw members by luck, as often as they weigh. Does not know how loaded they are.

The source of two candidates for those that then compare them (Mitzenmacher, "The Power of Two Choices in
Randomized Load Balancing", 2001). Candidates are drawn by weight and the first wins ties, so that shares
follow the weights as long as nobody is loaded (Berenbrink et al., "Balls into non-uniform bins", 2010).
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Protocol

from meshtrio.balance.member import Member, ordered

DRAWS = 4
"""How often luck is tried before the members are gone through. Drawing anew leaves the shares of the others
as they are, and costs nothing to speak of while few were tried."""


class Luck(Protocol):
    """The part of `random.Random` that is asked for."""

    def random(self) -> float:
        """Give a number from 0 up to but not including 1."""


class RandomChoice:
    """Each pick falls on a member with the probability weight / sum of weights of those not tried.

    After n picks a share p lies within sqrt(p (1 - p) / n) of itself, as a standard deviation. There is no
    memory: workers cannot fall into step, and a change of members moves nobody else's turn. A pick takes
    O(log n).
    """

    __slots__ = ("_members", "_random", "_sums")

    def __init__(self, luck: Luck) -> None:
        self._random = luck.random
        self._members: list[Member] = []
        self._sums: list[float] = []

    def replace(self, members: Sequence[Member]) -> None:
        """Draw from exactly these, as they weigh now."""
        self._members = ordered(members)
        self._sums = list(accumulate(member.weight for member in self._members))

    @property
    def mean_weight(self) -> float:
        """What a member weighs on average; 1.0 if there is none."""
        return self._sums[-1] / len(self._sums) if self._sums else 1.0

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Draw one that was not tried, or give None if all were."""
        members, sums = self._members, self._sums
        if not members:
            return None
        for _ in range(DRAWS):
            member = members[bisect_right(sums, self._random() * sums[-1])]
            if member.id not in tried:
                return member
        rest = [member for member in members if member.id not in tried]
        if not rest:
            return None
        sums = list(accumulate(member.weight for member in rest))
        return rest[bisect_right(sums, self._random() * sums[-1])]

    def pair(self, tried: Collection[str]) -> tuple[Member, Member] | None:
        """Draw two that were not tried; the same one twice if there is no second, None if there is none."""
        first = self.pick(0.0, None, tried)
        if first is None:
            return None
        members, sums, random = self._members, self._sums, self._random
        total = sums[-1]
        for _ in range(DRAWS):
            second = members[bisect_right(sums, random() * total)]
            if second is not first and second.id not in tried:
                return first, second
        at = int(random() * len(members))
        for second in members[at:] + members[:at]:
            if second is not first and second.id not in tried:
                return first, second
        return first, first
