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

    __slots__ = ("_even", "_members", "_random", "_sums")

    def __init__(self, luck: Luck) -> None:
        self._random = luck.random
        self._members: list[Member] = []
        self._sums: list[float] = []
        self._even = 0
        """How many they are, if all weigh the same; else 0."""

    def replace(self, members: Sequence[Member]) -> None:
        """Draw from exactly these, as they weigh now."""
        self._members = ordered(members)
        self._sums = list(accumulate(member.weight for member in self._members))
        is_even = len({member.weight for member in self._members}) == 1
        self._even = len(self._members) if is_even else 0

    @property
    def mean_weight(self) -> float:
        """What a member weighs on average; 1.0 if there is none."""
        return self._sums[-1] / len(self._sums) if self._sums else 1.0

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Draw one that was not tried, or give None if all were."""
        if not self._members:
            return None
        for _ in range(DRAWS):
            member = self._drawn()
            if member.id not in tried:
                return member
        rest = [member for member in self._members if member.id not in tried]
        if not rest:
            return None
        sums = list(accumulate(member.weight for member in rest))
        return rest[bisect_right(sums, self._random() * sums[-1])]

    def pair(self, tried: Collection[str]) -> tuple[Member, Member] | None:
        """Draw two that were not tried; the same one twice if there is no second, None if there is none."""
        # Written out, for nearly all pairs are made by this, and a call costs as much as a draw.
        members, random = self._members, self._random
        if even := self._even:
            first, second = members[int(random() * even)], members[int(random() * even)]
        elif sums := self._sums:
            total = sums[-1]
            first = members[bisect_right(sums, random() * total)]
            second = members[bisect_right(sums, random() * total)]
        else:
            return None
        if first is not second and not tried:
            return first, second
        return self._pair_with(first, tried)

    def _pair_with(self, drawn: Member, tried: Collection[str]) -> tuple[Member, Member] | None:
        """Make a pair with who was drawn first, unless that was tried."""
        first = self.pick(0.0, None, tried) if drawn.id in tried else drawn
        if first is None:
            return None
        for _ in range(DRAWS):
            second = self._drawn()
            if second is not first and second.id not in tried:
                return first, second
        members = self._members
        at = int(self._random() * len(members))
        for second in members[at:] + members[:at]:
            if second is not first and second.id not in tried:
                return first, second
        return first, first

    def _drawn(self) -> Member:
        if self._even:
            return self._members[int(self._random() * self._even)]
        sums = self._sums
        return self._members[bisect_right(sums, self._random() * sums[-1])]
