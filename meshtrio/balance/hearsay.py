"""Core. What workers tell each other of an endpoint: how connections to it went, what its breaker came to.

Both can be put together in any order. Does not know breakers, nor how words travel.
"""

import math

import msgspec

STREAK_BOUND = 64
"""More openings in a row than the longest open time lets happen in a day."""
COUNT_BOUND = 1_000_000
"""More in one message than any worker carries in the time between two: it is refused."""
AHEAD_S = 5.0
"""How far ahead of us a clock may be. It is the same clock, and only the time of delivery lies between."""
LONGEST_S = 86_400.0
"""No breaker is open for longer."""


class Counts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of connections to one endpoint since the word before."""

    successes: int = 0
    failures: int = 0
    slow: int = 0
    tail: int = 0
    """How many failed after the last that did not; `failures` if all did."""

    def then(self, later: "Counts") -> "Counts":
        """Add what was seen after this, or elsewhere."""
        return Counts(
            self.successes + later.successes,
            self.failures + later.failures,
            self.slow + later.slow,
            later.tail if later.successes or later.slow else self.tail + later.tail,
        )

    @property
    def is_sane(self) -> bool:
        """Say whether a worker can have seen that."""
        within = all(0 <= one <= COUNT_BOUND for one in (self.successes, self.failures, self.slow))
        return within and 0 <= self.tail <= self.failures


SUCCESS, FAILURE, SLOW = Counts(1), Counts(0, 1, 0, 1), Counts(0, 0, 1)


class Stand(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """What a breaker has come to, as workers tell each other. The greatest one wins: the newest, and of those
    of one moment the open one, then the one that is open for longer.

    Times are of CLOCK_MONOTONIC, which all processes of a node share.
    """

    since: float = 0.0
    """When it opened or closed."""
    open: bool = False
    until: float = 0.0
    """When an open one may be tried again."""
    streak: int = 0
    """How many times it opened without staying closed for as long as it was open."""

    def is_sane(self, now: float) -> bool:
        """Say whether a breaker can have come to that by now, and it would not block or win for ever."""
        return (
            math.isfinite(self.since)
            and math.isfinite(self.until)
            and self.since <= now + AHEAD_S
            and self.until <= now + LONGEST_S
            and 0 <= self.streak <= STREAK_BOUND
        )
