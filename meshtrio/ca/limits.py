"""Core. How often one may ask: buckets that fill up with time. Does not know who asks, nor for what."""

from collections import OrderedDict

import msgspec

KNOWN_BOUND = 4096
"""Askers who are remembered. Full: the one that was quiet for longest is forgotten; its bucket is full
again, or nearly so."""


class Rate(msgspec.Struct, frozen=True, gc=False):
    """So many a second in the long run, and so many at once."""

    per_s: float
    burst: float


class Level(msgspec.Struct, frozen=True, gc=False):
    """What is in a bucket at a time."""

    left: float
    at: float

    def taken(self, rate: Rate, now: float) -> "tuple[Level, float]":
        """Take one, if there is one; and say how many seconds until there is one (0: it was taken)."""
        left = min(self.left + max(now - self.at, 0.0) * rate.per_s, rate.burst)
        if left >= 1:
            return Level(left - 1, now), 0.0
        return Level(left, now), (1 - left) / rate.per_s


class Limits:
    """Each asker's own bucket."""

    def __init__(self, rate: Rate) -> None:
        """Begin with full ones."""
        self._rate = rate
        self._levels: OrderedDict[str, Level] = OrderedDict()

    def take(self, who: str, now: float) -> float:
        """Let somebody ask once. 0: they may; else so many seconds until they may, and nothing was taken."""
        level = self._levels.get(who) or Level(self._rate.burst, now)
        self._levels[who], wait_s = level.taken(self._rate, now)
        self._levels.move_to_end(who)
        if len(self._levels) > KNOWN_BOUND:
            self._levels.popitem(last=False)
        return wait_s
