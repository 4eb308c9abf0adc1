"""Core. Slow start where the kernel picks: who is starting, in steps that an order of slots can show.

The ramp is that of workers (ramp.py), in tenths of a share: each step is an order written anew, so there are
ten of them a start at most. Does not know slots, nor who writes them.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from meshtrio.balance.ramp import Ramps

PORTS_BOUND = 16_384
"""How many service ports are known. Full: at further ones nobody starts slowly."""
TENTHS = 10
NOBODY: Mapping[str, int] = {}


class _Told(NamedTuple):
    tenths: Mapping[str, int]
    ramp_s: float


class Starting:
    """Who is starting at the ports of direct services, by "namespace/name:port"."""

    def __init__(self) -> None:
        self._ramps: dict[str, Ramps] = {}
        self._told: dict[str, _Told] = {}
        """What was told last of ports where somebody is starting; the one told first stands in front."""

    def see(self, name: str, usable: Collection[str], now: float, ramp_s: float) -> None:
        """Know that exactly these endpoints of a port are usable from now on. `ramp_s` 0: all at once."""
        known = self._ramps.get(name)
        if known is None:
            if not ramp_s or len(self._ramps) >= PORTS_BOUND:
                return
            known = self._ramps[name] = Ramps()
        known.see(usable, now, ramp_s)
        self._told.pop(name, None)
        if tenths := _tenths(known, usable, now, ramp_s):
            self._told[name] = _Told(tenths, ramp_s)

    def tenths(self, name: str) -> Mapping[str, int]:
        """Say how many tenths of a share those get that are starting, as last seen; all others get all."""
        told = self._told.get(name)
        return told.tenths if told is not None else NOBODY

    def due(self, now: float) -> list[str]:
        """Name the ports at which somebody gets more by now than was told, the longest told first."""
        return [
            name
            for name, told in self._told.items()
            if _tenths(self._ramps[name], told.tenths, now, told.ramp_s) != told.tenths
        ]

    def retain(self, is_there: Callable[[str], bool]) -> None:
        """Forget the ports that are there no more."""
        for name in [one for one in self._ramps if not is_there(one)]:
            del self._ramps[name]
            self._told.pop(name, None)


def _tenths(ramps: Ramps, endpoints: Collection[str], now: float, ramp_s: float) -> Mapping[str, int]:
    # What ought to be a whole number of tenths may be a little less.
    shares = {one: max(1, int(ramps.share(one, now, ramp_s) * TENTHS + 1e-9)) for one in endpoints}
    return {one: tenths for one, tenths in shares.items() if tenths < TENTHS}
