"""Core. Slow start: who has just become usable gets little at first, and more each second. Does not know why.

A cold endpoint (empty caches, unfilled pools, code that is not compiled yet) that got its full share at once
would be the slowest of all, and one that was down because it was overloaded would be down again.

The weight rises from FIRST to the whole in steps of a second, at whole seconds of the clock: then weights
change once a second, however many endpoints start at however many different times.
"""

import math
from collections.abc import Collection

FIRST = 0.1
"""The share at the beginning."""


class Ramps:
    """Who is starting, of the endpoints of one service port as one worker sees them.

    Those that are usable when the worker looks for the first time do not start: all are equally new to it,
    and most are not new at all. Neither do those that come when nobody is usable: all is theirs anyway.
    """

    __slots__ = ("_begun", "_usable")

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._usable: frozenset[str] = frozenset()

    def see(self, usable: Collection[str], now: float, ramp_s: float) -> None:
        """Know that exactly these ids are usable from now on. `ramp_s` 0: nobody starts slowly."""
        here = frozenset(usable)
        second = math.floor(now)
        begun = {name: at for name, at in self._begun.items() if name in here and second - at < ramp_s}
        if self._usable and ramp_s:
            begun.update(dict.fromkeys(here - self._usable, second))
        self._begun, self._usable = begun, here

    def share(self, name: str, now: float, ramp_s: float) -> float:
        """Say what part of its weight this one has now, above 0 up to 1."""
        at = self._begun.get(name)
        if at is None or not ramp_s:
            return 1.0
        return min(1.0, FIRST + (1 - FIRST) * (math.floor(now) - at) / ramp_s)

    def until(self, now: float) -> float:
        """Say how long all shares stay as they are: infinite if nobody is starting."""
        return math.floor(now) + 1.0 if self._begun else math.inf
