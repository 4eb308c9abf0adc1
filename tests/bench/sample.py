"""Core. What a run of the bench found out: its samples and their place. Does not know how they came about."""

import msgspec

from meshtrio.benchmark.statistics import (
    Quiet,
    Spread,
    difference_by_round,
    doubts_about,
    ratio_by_round,
    spread_of,
)
from tests.bench import windows as calm


class Sample(msgspec.Struct, frozen=True):
    """One peer under one load in one round."""

    scenario: str
    peer: str
    round: int
    numbers: dict[str, float]
    windows: tuple[calm.Window, ...] = ()
    """Of loads at a fixed rate, in order."""

    @property
    def quiet(self) -> Quiet:
        """How much others disturbed this measurement."""
        return Quiet(self.numbers.get("steal_share", 0.0), self.numbers.get("foreign_share", 0.0))


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured, and with what."""

    kernel: str
    processor: str
    cores: int
    pinning: str
    began: str
    versions: dict[str, str]


class Run(msgspec.Struct, frozen=True):
    """All samples of one run, and what could not be measured, with the reason."""

    machine: Machine
    seconds: int
    rounds: int
    samples: tuple[Sample, ...]
    failures: tuple[str, ...]

    @property
    def peers(self) -> list[str]:
        """Who was measured, in the order of the run."""
        return list(dict.fromkeys(sample.peer for sample in self.samples))

    @property
    def scenarios(self) -> list[str]:
        """What was measured, in the order of the run."""
        return list(dict.fromkeys(sample.scenario for sample in self.samples))

    def by_round(self, scenario: str, peer: str, key: str) -> dict[int, float]:
        """Give one number of one peer, by round. Empty if it has none.

        What comes from calm windows is of all rounds together, and stands as round 0.
        """
        if key in calm.KEYS:
            numbers = self.pool(scenario, peer).numbers
            return {0: numbers[key]} if key in numbers else {}
        return {
            sample.round: sample.numbers[key]
            for sample in self.samples
            if sample.scenario == scenario and sample.peer == peer and key in sample.numbers
        }

    def pool(self, scenario: str, peer: str) -> calm.Pool:
        """Put the calm windows of one peer together, of all rounds.

        Where other processes of this machine used more than a little, none was calm.
        """
        found = [one for one in self.samples if one.scenario == scenario and one.peer == peer]
        return calm.pooled(
            window for one in found for window in one.windows if not one.quiet.is_crowded
        )._replace(windows=sum(len(one.windows) for one in found))

    def spread(self, scenario: str, peer: str, key: str) -> Spread | None:
        """Summarise one number of one peer. None if it has none."""
        values = self.by_round(scenario, peer, key)
        return spread_of(list(values.values())) if values else None

    def ratio(self, scenario: str, key: str, *, peer: str, base: str) -> Spread | None:
        """Say how many times the base's number the peer's is, compared round by round."""
        return ratio_by_round(self.by_round(scenario, peer, key), self.by_round(scenario, base, key))

    def difference(self, scenario: str, key: str, *, peer: str, base: str) -> Spread | None:
        """Say by how much the peer's number is above the base's, compared round by round."""
        return difference_by_round(self.by_round(scenario, peer, key), self.by_round(scenario, base, key))

    def doubts(self, scenario: str, peer: str, key: str) -> list[str]:
        """Say why one number of one peer is not to be believed; empty if it is."""
        spread = self.spread(scenario, peer, key)
        if spread is None:
            return []
        disturbances = [s.quiet for s in self.samples if s.scenario == scenario and s.peer == peer]
        pool = self.pool(scenario, peer)
        few = bool(pool.windows) and not pool.is_enough
        return doubts_about(spread, disturbances) + (
            [f"only {pool.calm} of {pool.windows} windows calm: the host was too noisy to tell"]
            if few
            else []
        )
