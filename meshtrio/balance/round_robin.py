"""Core. Whose turn is it? Does not know weights, or what became of the pick.

The ring is ordered by id, and the only memory is the id that was picked last: the next turn is that of the
least id above it. So when members come and go, nobody who stays is skipped or served twice, whatever order
they are given in, and a change never sends the next callers to the same first member.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from operator import attrgetter

from meshtrio.balance.member import Member, ordered


class RoundRobin:
    """Turns for all alike. `start` is where this one begins, so that many workers do not begin alike.

    Any two members that are there all the while differ by one first pick at most. A pick takes constant time
    where nothing was tried.
    """

    __slots__ = ("_again", "_first")

    def __init__(self, start: int = 0) -> None:
        self._first = _Ring(start)
        self._again = _Ring(start)
        """The turns of second and further tries. If these moved the first ring on, then with one dead member
        of two each connection would meet the dead one first, and not every second one."""

    def replace(self, members: Sequence[Member]) -> None:
        """Take turns among exactly these from now on; whose turn is next is kept."""
        by_id = ordered(members)
        self._first.replace(by_id)
        self._again.replace(by_id)

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Give the member whose turn it is and whose id is not in `tried`, or None if there is none."""
        return self._again.pick(tried) if tried else self._first.pick(tried)


class _Ring:
    __slots__ = ("_at", "_last", "_members", "_start")

    def __init__(self, start: int) -> None:
        self._start = start
        self._members: list[Member] = []
        self._at = 0
        self._last: str | None = None

    def replace(self, members: list[Member]) -> None:
        self._members = members
        if self._last is not None:
            self._at = bisect_right(members, self._last, key=attrgetter("id"))
        elif members:
            self._at = self._start % len(members)

    def pick(self, tried: Collection[str]) -> Member | None:
        members, at = self._members, self._at
        for _ in members:
            if at >= len(members):
                at = 0
            member = members[at]
            at += 1
            if member.id not in tried:
                self._at, self._last = at, member.id
                return member
        return None
