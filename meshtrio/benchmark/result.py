"""Core. What a run found out: its samples, by scenario, peer and round. Does not know how they came about."""

import msgspec

from meshtrio.benchmark.statistics import (
    Quiet,
    Spread,
    difference_by_round,
    doubts_about,
    ratio_by_round,
    spread_of,
)

BASE = "unmeshed"
"""With whom all others are compared."""


class Sample(msgspec.Struct, frozen=True):
    """One peer under one load in one round."""

    scenario: str
    peer: str
    round: int
    numbers: dict[str, float]

    @property
    def quiet(self) -> Quiet:
        """How much others disturbed it."""
        return Quiet(self.numbers.get("steal_share", 0.0), self.numbers.get("foreign_share", 0.0))


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    kernel: str
    processor: str
    cores: int
    placing: str
    """Who ran on which core."""
    began: str
    load_average: float
    """Of the minute before."""
    python: str


class LeftOut(msgspec.Struct, frozen=True):
    """A peer that could not be measured here."""

    peer: str
    why: str


class Run(msgspec.Struct, frozen=True):
    """A whole run."""

    machine: Machine
    seconds: float
    rounds: int
    samples: tuple[Sample, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def peers(self) -> list[str]:
        """Who was measured, in the order of the run."""
        return list(dict.fromkeys(sample.peer for sample in self.samples))

    @property
    def scenarios(self) -> list[str]:
        """What was measured, in the order of the run."""
        return list(dict.fromkeys(sample.scenario for sample in self.samples))

    def spread(self, scenario: str, peer: str, key: str) -> Spread | None:
        """Summarise one number of one peer. None if it has none."""
        values = self._by_round(scenario, peer, key)
        return spread_of(list(values.values())) if values else None

    def ratio(self, scenario: str, peer: str, key: str) -> Spread | None:
        """Say how many times the number of BASE it is, compared round by round. None for BASE itself."""
        if peer == BASE:
            return None
        return ratio_by_round(self._by_round(scenario, peer, key), self._by_round(scenario, BASE, key))

    def added(self, scenario: str, peer: str, key: str) -> Spread | None:
        """Say by how much it is above the number of BASE, compared round by round. None for BASE itself."""
        if peer == BASE:
            return None
        return difference_by_round(self._by_round(scenario, peer, key), self._by_round(scenario, BASE, key))

    def doubts(self, scenario: str, peer: str, key: str) -> list[str]:
        """Say why this number is not to be believed; empty if it is."""
        spread = self.spread(scenario, peer, key)
        disturbances = [one.quiet for one in self.samples if (one.scenario, one.peer) == (scenario, peer)]
        return [] if spread is None else doubts_about(spread, disturbances)

    def _by_round(self, scenario: str, peer: str, key: str) -> dict[int, float]:
        return {
            one.round: one.numbers[key]
            for one in self.samples
            if (one.scenario, one.peer) == (scenario, peer) and key in one.numbers
        }
