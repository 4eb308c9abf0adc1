"""Core. Who has the fewest connections for its weight? Knows those of this worker, not those of others.

Counting alone would send all idle callers to one member, and all workers to the same one: so those that are
equally loaded take smooth weighted turns (as nginx's least_conn does), and above SCAN members two are drawn
and the less loaded is taken ("power of two choices", as Envoy's least_request): workers that know the same
then still choose differently.
"""

from collections.abc import Collection, Sequence
from math import inf

from meshtrio.balance.ewma import latency_s
from meshtrio.balance.member import Member, ordered
from meshtrio.balance.random_choice import Luck, RandomChoice

SCAN = 8
"""Up to so many members all are looked at."""
SLOWER = 2.0
"""Among equally loaded ones, who takes more than so many times the quickest's latency waits. Nearer than that
is noise, and would make every worker choose the same one. The latency decays, so none waits for ever."""


class LeastConnections:
    """A pick has the least active / weight: of all up to SCAN members, of two drawn by weight above.

    Idle members share the picks by weight: exactly up to SCAN, in the mean above. Above, the most loaded of n
    equal ones holds O(log log n) more than the mean, with high probability. A pick takes constant time up to
    SCAN, else O(log n). `start` is where turns begin.
    """

    __slots__ = ("_choice", "_credits", "_members", "_start")

    def __init__(self, start: int, luck: Luck) -> None:
        self._start = start
        self._choice = RandomChoice(luck)
        self._members: list[Member] = []
        self._credits: dict[str, float] = {}
        """How far each is behind its turns, in weights."""

    def replace(self, members: Sequence[Member]) -> None:
        """Compare exactly these from now on. Those that stay keep their place in the turns."""
        by_id = ordered(members)
        self._choice.replace(by_id)
        at = self._start % len(by_id) if by_id else 0
        self._members = by_id[at:] + by_id[:at]
        self._credits = {member.id: self._credits.get(member.id, 0.0) for member in by_id}

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Give the least loaded one that was not tried, or None."""
        if len(self._members) <= SCAN:
            return self._of_all(now, tried)
        pair = self._choice.pair(tried)
        if pair is None:
            return None
        first, second = pair
        load, other = first.active * second.weight, second.active * first.weight
        if load == other and (took := latency_s(second, now)):
            return second if latency_s(first, now) > SLOWER * took else first
        return second if other < load else first

    def _of_all(self, now: float, tried: Collection[str]) -> Member | None:
        least = 0.0
        tied: list[Member] = []
        for member in self._members:
            if member.id not in tried:
                load = member.active / member.weight
                if not tied or load < least:
                    least, tied = load, [member]
                elif load == least:
                    tied.append(member)
        if len(tied) < 2:
            return tied[0] if tied else None
        took = [latency_s(member, now) for member in tied]
        bound = SLOWER * min(filter(None, took), default=0.0)
        if max(took) > bound:
            tied = [member for member, took_s in zip(tied, took, strict=True) if took_s <= bound]
        return self._in_turn(tied)

    def _in_turn(self, tied: Sequence[Member]) -> Member:
        """Take one step of smooth weighted round robin among these."""
        credits = self._credits
        total, best, most = 0.0, tied[0], -inf
        for member in tied:
            weight = member.weight
            total += weight
            credit = credits[member.id] = credits[member.id] + weight
            if credit > most:
                best, most = member, credit
        credits[best.id] -= total
        return best
