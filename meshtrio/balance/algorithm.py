"""Core. What every way of choosing among members promises, and their names. Does not know who is eligible."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from meshtrio.balance.consistent_hash import ConsistentHash
from meshtrio.balance.least_connections import LeastConnections
from meshtrio.balance.maglev import Maglev
from meshtrio.balance.member import Member
from meshtrio.balance.peak_ewma import PeakEwma
from meshtrio.balance.random_choice import Luck, RandomChoice
from meshtrio.balance.round_robin import RoundRobin
from meshtrio.balance.weighted import Weighted


class Algorithm(Protocol):
    """One way of choosing, with the state of one service port in one worker."""

    def replace(self, members: Sequence[Member]) -> None:
        """Choose among exactly these from now on, with the weights that they have now.

        The order they are given in does not matter. What is known of those that stay is kept. To be called
        whenever one comes or goes or weighs something else. ValueError for a weight that is not above 0.
        """

    def pick(self, now: float, key: int | None, tried: Collection[str]) -> Member | None:
        """Choose a member whose id is not in `tried`; None if there is none. `now` is monotonic seconds.

        `key` is `hashing.key_hash` of what calls that belong together share, or None; those that do not hash
        take no notice of it. `active` is the caller's to raise.
        """


_MAKERS: dict[str, Callable[[int, Luck, float], Algorithm]] = {
    "round_robin": lambda start, luck, bound: RoundRobin(start),
    "least_connections": lambda start, luck, bound: LeastConnections(start, luck),
    "weighted": lambda start, luck, bound: Weighted(start, luck),
    "consistent_hash": lambda start, luck, bound: ConsistentHash(start, bound),
    "maglev": lambda start, luck, bound: Maglev(start, bound),
    "peak_ewma": lambda start, luck, bound: PeakEwma(luck),
    "random": lambda start, luck, bound: RandomChoice(luck),
}
NAMES = tuple(_MAKERS)
"""As in configuration."""
HASHING = frozenset({"consistent_hash", "maglev"})
"""Those that ask for a key."""


def make(name: str, *, start: int, luck: Luck, bounded_load: float) -> Algorithm:
    """Make the algorithm of this name, one of NAMES; KeyError for another.

    `start` differs by worker, so that those who know the same do not all begin at the same member.
    `bounded_load` holds for those that hash: 0, or how many times its share a member may hold.
    """
    return _MAKERS[name](start, luck, bounded_load)
