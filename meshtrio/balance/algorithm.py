"""Core. What every way of choosing among members promises, and their names. Does not know who is eligible."""

from collections.abc import Collection, Sequence
from typing import Protocol

from meshtrio.balance.member import Member
from meshtrio.balance.round_robin import RoundRobin


class Luck(Protocol):
    """The part of `random.Random` that is asked for."""

    def random(self) -> float:
        """Give a number from 0 up to but not including 1."""


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


NAMES = (
    "round_robin",
    "least_connections",
    "weighted",
    "consistent_hash",
    "maglev",
    "peak_ewma",
    "random",
)
"""As in configuration."""


def make(name: str, *, start: int, luck: Luck, bounded_load: float) -> Algorithm:
    """Make the algorithm of this name, one of NAMES; KeyError for another.

    `start` differs by worker, so that those who know the same do not all begin at the same member.
    `bounded_load` holds for those that hash: 0, or how many times the mean a member may be loaded.
    """
    return {"round_robin": RoundRobin(start)}[name]
