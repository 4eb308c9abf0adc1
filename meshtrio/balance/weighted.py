"""Core. Turns as often as members weigh, spread as evenly as can be. Does not know their load.

nginx's smooth weighted round robin goes through all members at each pick. This is the same promise in
O(log n): worst-case fair weighted fair queueing (WF2Q+; Bennett and Zhang, "Hierarchical Packet Fair Queueing
Algorithms", 1997), with a pick for a packet. Each member has a period, sum of weights / weight, measured in
picks. Its next turn may not come before the last period is over (the start), and should come before the next
one is (the finish). Of those that may, the one with the earliest finish is picked, ties by id. A plain heap
of finishes (as in Envoy's EDF scheduler) would be unfair for a while: with one member of weight 100 beside a
hundred of weight 1, it gives the heavy one a hundred turns in a row.
"""

from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from meshtrio.balance.member import Member, ordered
from meshtrio.balance.random_choice import Luck, RandomChoice

REBASE = 1 << 20
"""Time begins anew after so many picks, which keeps it exact: a float has 53 bits, and 20 are picks."""
NEARLY = 1e-6
"""Starts within this of now are there: what rounding may have added to them, in picks."""


class Weighted:
    """As long as the members stay, each has had its share of the picks so far, give or take one pick.

    So after as many picks as the weights' sum (as whole numbers without a common divisor), and each multiple
    of it, the shares are exact. When members or weights change, each that stays keeps how far it is behind or
    ahead: nobody is skipped, and nobody new is picked more than its share.

    `start` turns are left out at the beginning, so that many workers do not begin alike. Second tries are
    drawn by weight, and move nobody's turn.
    """

    __slots__ = ("_again", "_at", "_members", "_periods", "_ready", "_start", "_starts", "_waiting")

    def __init__(self, start: int, luck: Luck) -> None:
        self._start: int | None = start
        self._again = RandomChoice(luck)
        self._members: list[Member] = []
        self._at = 0.0
        """How many picks there were since time began."""
        self._periods: list[float] = []
        self._starts: list[float] = []
        self._ready: list[tuple[float, int]] = []
        """Heap of finishes, of those whose start is there."""
        self._waiting: list[tuple[float, int]] = []
        """Heap of starts, of all others."""

    def replace(self, members: Sequence[Member]) -> None:
        """Take turns among exactly these, as they weigh now. Takes O(n log n)."""
        behind = {
            member.id: (self._at - start) / period
            for member, start, period in zip(self._members, self._starts, self._periods, strict=True)
        }
        self._members = ordered(members)
        self._again.replace(self._members)
        total = sum(member.weight for member in self._members)
        # What those who left were ahead or behind is shared by those who stay, so that it is 0 in all again.
        # A newcomer has no part in it, else it would get a run of turns.
        stay = [behind[member.id] for member in self._members if member.id in behind]
        debt = sum(stay) / (len(stay) or 1)
        self._at, self._starts, self._periods = 0.0, [], []
        self._ready, self._waiting = [], []
        for index, member in enumerate(self._members):
            period = total / member.weight
            late = behind[member.id] - debt if member.id in behind else 0.0
            late = min(1.0, max(-1.0, late))
            start = -late * period
            self._periods.append(period)
            self._starts.append(start)
            if start <= NEARLY:
                self._ready.append((start + period, index))
            else:
                self._waiting.append((start, index))
        heapify(self._ready)
        heapify(self._waiting)
        if self._start is not None and self._members:
            left_out, self._start = self._start % len(self._members), None
            for _ in range(left_out):
                self._next()

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Give the one whose turn it is; where some were tried, one of the others by luck; or None."""
        if tried:
            return self._again.pick(now, key, tried)
        if not self._members:
            return None
        if self._at >= REBASE:
            self.replace(self._members)
        return self._next()

    def _next(self) -> Member:
        waiting, ready, periods = self._waiting, self._ready, self._periods
        at = self._at
        if not ready and waiting[0][0] > at:
            at = waiting[0][0]  # all are ahead: time goes on to the first that may
        while waiting and waiting[0][0] <= at + NEARLY:
            start, index = heappop(waiting)
            heappush(ready, (start + periods[index], index))
        finish, index = ready[0]
        self._starts[index] = finish
        at += 1
        if finish <= at + NEARLY:
            heapreplace(ready, (finish + periods[index], index))
        else:
            heappop(ready)
            heappush(waiting, (finish, index))
        self._at = at
        return self._members[index]
