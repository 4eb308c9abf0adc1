"""Core. Who is likely to answer first? By latency and by what each still has to do for this worker.

As Finagle's and Linkerd's balancers: two are drawn, and the one is taken whose latency (peak EWMA) times what
it would then have to do is the lower. A departure: who was never measured is not taken for infinitely quick,
nor charged a penalty. It is compared by its load alone, so that a new member neither draws all callers nor
waits for any.
"""

from collections.abc import Collection, Sequence
from math import exp

from meshtrio.balance.ewma import DECAY_S
from meshtrio.balance.member import Member
from meshtrio.balance.random_choice import Luck, RandomChoice


class PeakEwma:
    """Of two drawn by weight, a pick has the lower latency x (active x mean weight / weight + 1).

    One that stalls is left after its first slow answer, and tried again as its latency decays: none starves.
    A pick takes O(log n).
    """

    __slots__ = ("_choice", "_mean")

    def __init__(self, luck: Luck) -> None:
        self._choice = RandomChoice(luck)
        self._mean = 1.0

    def replace(self, members: Sequence[Member]) -> None:
        """Draw from exactly these. Their latencies are their own, so nothing is lost."""
        self._choice.replace(members)
        self._mean = self._choice.mean_weight

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Give the quicker of two that were not tried, or None."""
        pair = self._choice.pair(tried)
        if pair is None:
            return None
        first, second = pair
        mean = self._mean
        load = first.active * mean / first.weight + 1
        other = second.active * mean / second.weight + 1
        # As ewma.latency_s, written out: two calls would be a fifth of what a pick costs.
        took, would_take = first.ewma_s, second.ewma_s
        if took and would_take:
            if (waited := first.ewma_at - now) < 0:
                took *= exp(waited / DECAY_S)
            if (waited := second.ewma_at - now) < 0:
                would_take *= exp(waited / DECAY_S)
            if took and would_take:
                load, other = load * took, other * would_take
        return second if other < load else first
