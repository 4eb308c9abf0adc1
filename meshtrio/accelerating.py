"""Shell. How far an agent's connections are accelerated, and why no further: for those who ask.

Holds the trial of sk_msg (accelerate/) only if a workload asks for a rung that needs it. ladder.py decides.
"""

from collections.abc import Mapping
from pathlib import Path

import trio

from meshtrio.accelerate import ladder
from meshtrio.accelerate.ladder import Standing
from meshtrio.config.kinds import RungMax
from meshtrio.config.schema import Config
from meshtrio.intercept.workload import Workload

PATIENCE_S = 5.0
"""How long a workload waits for the trial that it asks for. It takes a second, once a kernel."""


class Accelerating:
    """What is said of rungs above catching."""

    def __init__(self, config: Config) -> None:
        """Begin without a trial."""
        self._cache = Path(config.paths.cache)
        self._refused: Mapping[RungMax, str] = ladder.UNKNOWN
        self._trying = trio.Lock()
        self.stopless = ""
        """Why the kernel cannot stop a granted connection that goes astray."""
        self.settle(config)

    def settle(self, config: Config) -> None:
        """Let another configuration hold."""
        self._rung_max: RungMax = config.rung_max
        self._ungranted = ladder.why_no_grants(config)

    async def tried_for(self, acceleration: str) -> None:
        """Know what the kernel says to this wish, if it is one for sk_msg; or be without, after PATIENCE_S.

        Nothing depends on it but what is told.
        """
        if acceleration != ladder.BY_SK_MSG:
            return
        # As with discovery: an agent that nobody asks carries neither the code nor the findings.
        from meshtrio.accelerate.proof import Untried, proved

        with trio.move_on_after(PATIENCE_S):
            async with self._trying:
                if self._refused is ladder.UNKNOWN:
                    try:
                        self._refused = ladder.refusals(await proved(self._cache))
                    except (Untried, OSError) as why:
                        self._refused = ladder.untried(str(why))

    def node(self) -> Standing:
        """Say where all stand that ask for nothing else."""
        return ladder.node(self._rung_max, self._refused)

    def workload(self, one: Workload) -> Standing:
        """Say where this workload's connections stand."""
        hooks = one.rung == "ebpf"
        return ladder.workload(
            self._rung_max,
            one.spec.acceleration,
            hooks=hooks,
            refused=self._refused,
            ungranted=self._ungranted or self.stopless,
        )
