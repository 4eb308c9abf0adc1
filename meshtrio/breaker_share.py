"""Shell. A worker's breakers of all service ports, and how they and those of others hear of each other.

Each worker decides for itself, so one without agent goes on; it only hears no more of the others.
"""

import time
from collections.abc import Callable
from random import Random

import trio

from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.breakers import PortBreakers
from meshtrio.channel import Channel, ChannelClosed
from meshtrio.messages import KnowBreakers, Observed, SeenElsewhere, ToAgent, ToWorker
from meshtrio.observe import log

PORTS_BOUND = 16_384
"""How many ports are kept. Full: the one that was made first is no longer shared, and begins anew if asked
for again."""
BATCH_S = 0.04
"""How long news waits for more of it. So other workers hear within a tenth of a second."""
ROWS = 10_000
"""How many endpoints one message speaks of at most, but for the last port's: the next one follows at once."""


class BreakerShare:
    """The breakers of one worker, by "namespace/name:port"."""

    def __init__(self, luck: Random | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """The clock is CLOCK_MONOTONIC, for its times mean the same in other processes of this node."""
        self._luck = luck or Random()
        self._clock = clock
        self._ports: dict[str, PortBreakers] = {}
        self._fresh: dict[str, PortBreakers] = {}
        """The ports that have something to tell."""
        self._news = trio.Event()
        self.on_forget: Callable[[str], object] = bool
        """Called with the name of a port whose breakers are shared no more; who has them is on its own."""

    def of(self, port: str, thresholds: Thresholds | None = None) -> PortBreakers:
        """Find the breakers of a service port, or begin them; these thresholds hold from now on."""
        known = self._ports.get(port)
        if known is None:
            if len(self._ports) >= PORTS_BOUND:
                self.forget(next(iter(self._ports)))
            known = self._ports[port] = PortBreakers(thresholds or Thresholds(), self._luck)
            made = known

            def tell() -> None:
                self._fresh[port] = made
                self._news.set()

            known.sightings.on_news = tell
        elif thresholds is not None:
            known.settle(thresholds)
        return known

    def forget(self, port: str) -> None:
        """Share the breakers of this port no more; nothing happens if they are not known."""
        known = self._ports.pop(port, None)
        if known is not None:
            known.sightings.on_news = bool
            self._fresh.pop(port, None)
            self.on_forget(port)

    def learn(self, news: SeenElsewhere | KnowBreakers) -> None:
        """Take what the agent tells of other workers' breakers, and of the operator."""
        now, absurd = self._clock(), 0
        if isinstance(news, SeenElsewhere):
            for port, counts in news.counts.items():
                absurd += self.of(port).learn(counts, {}, now)
        elif news.stands or news.forced or news.port in self._ports:
            port_breakers = self.of(news.port)
            port_breakers.obey(news.forced, now)
            absurd = port_breakers.learn({}, news.stands, now)
        if absurd:
            log.rarely("the agent told of breakers what cannot be", passed_over=absurd)

    def take(self) -> Observed | None:
        """Hand over what others must know, ROWS at a time; None: nothing."""
        counts, stands, rows = {}, {}, 0
        while self._fresh and rows < ROWS:
            port, breakers = self._fresh.popitem()
            seen, came_to = breakers.sightings.take()
            rows += len(seen) + len(came_to)
            if seen:
                counts[port] = seen
            if came_to:
                stands[port] = came_to
        return Observed(counts, stands) if rows else None

    async def run(self, channel: Channel[ToWorker, ToAgent]) -> None:
        """Tell the agent until it goes, or this is cancelled. While it does not read, news add up."""
        try:
            while True:
                await self._news.wait()
                await trio.sleep(BATCH_S)
                self._news = trio.Event()
                # All of it now: what comes while we send is the next batch, or a storm would have none.
                for seen in list(iter(self.take, None)):
                    # However long a stopped agent does not read: giving up amid a message closes the line.
                    await channel.send(seen)
        except ChannelClosed:
            return
