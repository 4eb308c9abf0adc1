"""Core. Clients take turns in short slots: in which order, what the rounds say, and whether one may know.

A machine that others share is slow for a second and quick for the next. In a round of slots of some
milliseconds all ways have the same weather, so they are compared within rounds, and of several hundred
comparisons the middle is taken, with the interval that a sign test leaves: nothing is assumed of how noise is
distributed. One way is measured twice; what lies between the two is the machine's.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

DOUBT = 0.05
"""An interval misses what it is about so often."""


class Slot(NamedTuple):
    """What one client did in one slot, and what its server did meanwhile."""

    operations: float
    ns: float
    client_ns: float
    """Of the processor."""
    server_ns: float

    @property
    def per_second(self) -> float:
        """Say how many operations fit into a second."""
        return 1e9 * self.operations / self.ns

    @property
    def processor_us(self) -> float:
        """Say what an operation takes of the processor, on both ends.

        Together, for on the loopback each does work of the other.
        """
        return (self.client_ns + self.server_ns) / self.operations / 1000


class Middle(NamedTuple):
    """A median, and between which values the true one lies, but for DOUBT."""

    median: float
    low: float
    high: float


def orders(
    ways: Sequence[T], rounds: int, shuffle: Callable[[list[tuple[T, ...]]], None]
) -> Iterator[tuple[T, ...]]:
    """Give the order of each round: all orders once, shuffled, and again, so who goes first is nobody's."""
    given = 0
    while True:
        some = list(itertools.permutations(ways))
        shuffle(some)
        for order in some:
            if given == rounds:
                return
            yield order
            given += 1


def middle(values: Sequence[float]) -> Middle:
    """Give the median with its interval. ValueError if there are too few values for one.

    As many lie below the true median as heads fall in so many throws of a coin.
    """
    ordered, count = sorted(values), len(values)
    below = rank = 0
    # In whole numbers: 2**count is no float from a thousand rounds on.
    while (below := below + math.comb(count, rank)) * round(2 / DOUBT) <= 2**count:
        rank += 1
    if not rank:
        raise ValueError(f"{count} values leave no interval")
    half = count // 2
    median = ordered[half] if count % 2 else (ordered[half - 1] + ordered[half]) / 2
    return Middle(median, ordered[rank - 1], ordered[count - rank])


def verdict(ratio: Middle, again: Middle, goal: float) -> str:
    """Say whether a ratio reaches its goal; `again` is that of a way to itself, of the same rounds."""
    if not again.low <= 1 <= again.high:
        return "too noisy to tell: a way is not even as quick as itself"
    if again.high - again.low > abs(1 - goal):
        return f"too noisy to tell: a way and itself are {again.high - again.low:.3f} apart"
    if ratio.low >= goal:
        return "reached"
    return "missed" if ratio.high < goal else "not settled: more rounds would tell"
