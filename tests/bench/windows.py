"""Core. Calm windows: what a load at a fixed rate measured while the host of this machine took nothing.

A virtual machine whose host takes its cores away for half a millisecond here and there measures its host:
at a thousand messages a second every such moment is a message that waits, and one in a hundred of them is
the 99th percentile. So the load runs in windows of a tenth of a second, the hypervisor's clock is read
around each, and a second set of percentiles comes from those windows alone in which it stood still. Windows
are chosen by that clock, never by what was measured in them, and both sets are shown.

What this can hide. A peer that uses more processor time gives the host more to take, so fewer of its
windows are calm, and those are the ones in which it did least: the share that was kept is shown for each
peer, and where it differs much, the percentiles of calm windows flatter the one with the smaller share.
What the host takes when a sleeping core wakes is left out too, for all peers alike. A delay that our own
processes cause each other is none of this and stays in. So would one that other processes of this machine
cause, which that clock does not show: where they used more than a little, no window of the turn is calm.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

STOLEN_MOST_US = 100.0
"""In a window, all cores together: a thousandth of it, and a fifth of what the goal allows a message."""
WINDOWS_LEAST = 20
SAMPLES_LEAST = 2000
"""Of fewer the 99th percentile is the mere twentieth from the end."""
KEYS = ("calm_p50_us", "calm_p99_us", "windows", "calm_windows", "calm_percent")


class Window(msgspec.Struct, frozen=True):
    """What came back in one window, and how much the host took in it, all cores together."""

    stolen_us: float
    trips_us: tuple[float, ...]

    @property
    def is_calm(self) -> bool:
        """Say whether the host took nothing that matters."""
        return self.stolen_us <= STOLEN_MOST_US


class Pool(NamedTuple):
    """The calm windows of one peer, all rounds together."""

    windows: int
    """All that there were."""
    calm: int
    trips_us: Sequence[float]
    """Of the calm ones, sorted."""

    @property
    def is_enough(self) -> bool:
        """Say whether these are enough to tell a 99th percentile from."""
        return self.calm >= WINDOWS_LEAST and len(self.trips_us) >= SAMPLES_LEAST

    @property
    def numbers(self) -> dict[str, float]:
        """Give what is shown: of the percentiles only those that enough windows stand behind."""
        if not self.windows:
            return {}
        percent = 100 * self.calm / self.windows
        counts = {"windows": self.windows, "calm_windows": self.calm, "calm_percent": percent}
        if not self.is_enough:
            return counts
        return counts | {f"calm_p{rank}_us": percentile(self.trips_us, rank / 100) for rank in (50, 99)}


def pooled(windows: Iterable[Window]) -> Pool:
    """Put the answers of all calm windows together."""
    found = list(windows)
    calm = [window for window in found if window.is_calm]
    return Pool(len(found), len(calm), sorted(trip for window in calm for trip in window.trips_us))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Give the smallest value that at least this share does not exceed, as load/tally.h does."""
    if not ordered:
        raise ValueError("percentile of no values")
    thousandths = round(1000 * share)
    rank = (len(ordered) * thousandths + 999) // 1000
    return ordered[max(rank, 1) - 1]
