"""Shell. Which services have changed, and when that is published: what somebody waits for soon, a burst once.

    awaited by a workload of this node   at once, but two snapshots are APART_S apart
    after a silence                      GATHER_S after the first change
    while news go on                     APART_S after the last snapshot, for their sources have gathered them
    a burst, which is BURST or more      when LULL_S has brought fewer, BURST_S after its begin at the latest
    of those by then

Bounded by the catalog, for what waits is a set of keys. Does not know what has changed.
"""

import math
from collections.abc import Callable, Set

import trio

GATHER_S = 0.05
"""Long enough to see that a burst begins, of which a stream may bring one change a while before the rest."""
APART_S = 0.04
"""Less than the streams of Kubernetes gather, with the time that publishing takes: else what they have
gathered would wait here once more."""
BURST = 16
"""Of 100 changes/s six come between two snapshots."""
LULL_S = 0.1
"""And so long without a snapshot is a silence."""
BURST_S = 3.0
"""A thousand services are told in 0.6 s, and in 2 s beside four programs that keep two cores busy."""


class Gathering:
    """The keys of the services that have changed and are not published yet."""

    def __init__(self, awaited: Callable[[Set[str]], bool]) -> None:
        """Begin with none. `awaited` tells whether a workload of this node waits for news of one of these."""
        self._awaited = awaited
        self._changed: set[str] = set()
        self._news = trio.Event()
        self._urgent = trio.Event()
        self._published_at = -math.inf

    def __len__(self) -> int:
        """Count them."""
        return len(self._changed)

    def add(self, keys: Set[str]) -> None:
        """Add some that have changed."""
        if keys:
            self._changed |= keys
            self._news.set()
            if not self._urgent.is_set() and self._awaited(keys):
                self._urgent.set()

    def hurry(self) -> None:
        """Let what there is, if there is any, be published soon: somebody waits."""
        if self._changed:
            self._urgent.set()

    def take(self) -> list[str]:
        """Give them all, for they are published now."""
        keys, self._changed = list(self._changed), set()
        return keys

    def published(self) -> None:
        """Note that what was taken is published."""
        self._published_at = trio.current_time()

    async def ripe(self) -> None:
        """Wait until there are some, and they are to be published."""
        await self._news.wait()
        since_s = trio.current_time() - self._published_at
        wait_s = GATHER_S if since_s > LULL_S else max(0.0, APART_S - since_s)
        before = 0
        with trio.move_on_after(BURST_S):
            while not await self._urgent_within(wait_s) and len(self) - before >= BURST:
                before, wait_s = len(self), LULL_S
        await trio.sleep_until(self._published_at + APART_S)
        self._news, self._urgent = trio.Event(), trio.Event()

    async def _urgent_within(self, wait_s: float) -> bool:
        """Wait so long for something that is waited for, and say whether there is any.

        Twice if it took longer: what came while we, or the machine, were held up is not read yet.
        """
        for _ in range(2):
            until = trio.current_time() + wait_s
            with trio.move_on_at(until):
                await self._urgent.wait()
                return True
            if trio.current_time() < until + wait_s / 10:
                break
        return False
