"""Core. Medians, spreads and ratios of a few rounds, and whether the machine was quiet enough.

Knows nothing of what was measured, nor how. Percentiles are the load generator's (load/tally.h).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

NOISY_SPREAD = 0.25
"""Highest minus lowest, as a share of the median. Beyond it the median of a handful of rounds says little."""
NOISY_STEAL = 0.01
"""Share of the machine's time that the hypervisor gave to others."""
NOISY_FOREIGN = 0.10
"""Share of one core that processes used which are not the bench's."""


class Spread(NamedTuple):
    """What some rounds gave: the middle, and how far they lay apart."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def relative(self) -> float:
        """Highest minus lowest as a share of the median; 0 if all is 0."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0


class Quiet(NamedTuple):
    """How much others disturbed one measurement: shares of its time."""

    steal: float
    """Of all cores together."""
    foreign: float
    """Of one core."""

    @property
    def is_crowded(self) -> bool:
        """Say whether other processes of this machine used enough to matter."""
        return self.foreign > NOISY_FOREIGN

    @property
    def is_noisy(self) -> bool:
        """Say whether others took enough to matter, on this machine or beside it."""
        return self.steal > NOISY_STEAL or self.is_crowded


def median(values: Sequence[float]) -> float:
    """Give the middle value, or the mean of the two in the middle."""
    if not values:
        raise ValueError("median of no values")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def spread_of(values: Sequence[float]) -> Spread:
    """Summarise the rounds of one number."""
    return Spread(median(values), min(values), max(values), len(values))


def ratio_by_round(values: Mapping[int, float], base: Mapping[int, float]) -> Spread | None:
    """Compare round with round, and then take the median: what slows the machine for a minute slows both.

    None if no round has both, or the base is 0 in all of them.
    """
    ratios = [values[number] / base[number] for number in values if base.get(number)]
    return spread_of(ratios) if ratios else None


def difference_by_round(values: Mapping[int, float], base: Mapping[int, float]) -> Spread | None:
    """Subtract round by round, and then take the median. None if no round has both."""
    differences = [values[number] - base[number] for number in values if number in base]
    return spread_of(differences) if differences else None


def doubts_about(spread: Spread, disturbances: Sequence[Quiet]) -> list[str]:
    """Say why a number is not to be believed; empty when the machine was quiet and the rounds agree."""
    doubts = []
    if spread.rounds < 3:
        doubts.append(f"only {spread.rounds} round{'s' if spread.rounds > 1 else ''}")
    if spread.relative > NOISY_SPREAD:
        doubts.append(f"rounds {spread.relative:.0%} apart")
    steal = max((quiet.steal for quiet in disturbances), default=0.0)
    if steal > NOISY_STEAL:
        doubts.append(f"{steal:.1%} of the machine stolen by its host")
    foreign = max((quiet.foreign for quiet in disturbances), default=0.0)
    if foreign > NOISY_FOREIGN:
        doubts.append(f"others used {foreign:.0%} of a core")
    return doubts
