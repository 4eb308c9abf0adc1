"""Shell. Where the sources' news meet: folded into one catalog, and published in batches.

A source is an async function that gets a `Sink` and runs until it is cancelled. It says what it knows
through the sink; saying is a plain function and never waits, because what waits to be published is a set of
keys, bounded by the catalog. Does not know how any source comes by its news.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Set

import trio

from meshtrio.address import Address
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.service import Health, Service
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.stream import State, Stream, is_lost
from meshtrio.discover.gathering import Gathering
from meshtrio.observe import log

LOOK_S = 0.5
"""How often it is looked whether a source is lost or back."""
AT_ONCE = 96
"""How many services are merged before others have their turn, if they have few endpoints."""
ENDS_AT_ONCE = 2048
"""How many endpoints are: 20 ms of them. One service is always merged whole."""
MOVED_A_SNAPSHOT = 10_240
"""After so many addresses that come, go or change a burst is published in between, for publishing goes at one
stroke: 60 ms for so many."""


class Hub:
    """All sources' words, and the snapshot made of them."""

    def __init__(
        self,
        merge: Merge,
        publish: Callable[[Snapshot], None],
        awaited: Callable[[Set[str]], bool] = lambda keys: False,
    ) -> None:
        """Begin with an empty catalog; `publish` gets each new snapshot. `awaited` tells whether a workload
        of this node waits for news of one of these services."""
        self.merge = merge
        self.streams: dict[str, dict[str, Stream]] = {}
        """By source, by name."""
        self.snapshot = Snapshot()
        self._publish = publish
        self._published = self.snapshot
        self._publishing = trio.Lock()
        self._unpublished = Gathering(awaited)

    def sink(self, source: str) -> "Sink":
        """Make what a source speaks through."""
        self.merge.configured |= {source}
        return Sink(self, source)

    def forget(self, source: str) -> None:
        """Let go of a source that is no longer configured, and of all that it said."""
        self.merge.configured -= {source}
        self.streams.pop(source, None)
        self._unpublished.add(self.merge.lose(source, lost=False))
        self._unpublished.add(self.merge.say(source, {}, complete=True, now=time.time()))

    def probed(self, key: str, address: Address, found: Health) -> None:
        """Take what a probe found of an endpoint; UNKNOWN: it is probed no more."""
        self._unpublished.add(self.merge.probe(key, address, found))

    async def run(self) -> None:
        """Publish what changes, in batches, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look)
            while True:
                await self._unpublished.ripe()
                await self.publish_changed()
                self._unpublished.published()

    def asked(self, key: str | None) -> None:
        """Publish what has changed of a service before a workload begins to use it.

        None: what it dialled is no service yet. If one that waits to be published is it, that is soon.
        """
        if key is None:
            self._unpublished.hurry()
        elif self._unpublished or self._publishing.locked():
            self._take_in([key])
            if self.snapshot.service(key) is not self._published.service(key):
                self._give_out()

    async def publish_changed(self) -> None:
        """Publish what has changed without waiting for more, as the first words at start want it.

        A burst is one snapshot, but for one that moves very many addresses. Others have their turn between.
        """
        async with self._publishing:
            keys = self._unpublished.take()
            moved = 0
            while keys:
                await trio.lowlevel.checkpoint()
                moved += self._take_in(keys)
                if moved >= MOVED_A_SNAPSHOT:
                    self._give_out()
                    moved = 0
            self._give_out()

    def publish_now(self) -> None:
        """Publish what has changed at one stroke, whatever it costs."""
        keys = self._unpublished.take()
        while keys:
            self._take_in(keys)
        self._give_out()

    def _give_out(self) -> None:
        self._published = self.snapshot
        self._publish(self.snapshot)

    def _take_in(self, keys: list[str]) -> int:
        """Merge the last of these services and take them off the list. Returns how many addresses move."""
        services: dict[str, Service | None] = {}
        ends = 0
        while keys and len(services) < AT_ONCE and ends < ENDS_AT_ONCE:
            key = keys.pop()
            after = services[key] = self.merge.merged(key)
            # Each address that goes is a system call of its own; those that come share a few.
            ends += max(_ends(after), _ends(self.snapshot.service(key)) * (1 if after else 2))
        before = self.snapshot
        self.snapshot = before.with_services(
            [service for service in services.values() if service is not None],
            removed=[key for key, service in services.items() if service is None],
            since=self._published,
        )
        return 0 if self.snapshot is before else self.snapshot.moved

    async def _look(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            now = time.time()
            for source, streams in self.streams.items():
                was_lost = self.merge.lost(source)
                lost = is_lost(streams.values(), now, was_lost=was_lost)
                if lost is not was_lost:
                    if lost:
                        why = _why_lost(streams.values())
                        log.warning("a source is lost; what it said last holds", source=source, why=why)
                    else:
                        log.info("a source is back", source=source)
                    self._unpublished.add(self.merge.lose(source, lost=lost))

    def all_streams(self) -> Iterator[Stream]:
        """Give the streams of all sources."""
        for streams in self.streams.values():
            yield from streams.values()


class Sink:
    """What one source speaks through. All calls return at once."""

    def __init__(self, hub: Hub, source: str) -> None:
        """Speak for this source."""
        self._hub = hub
        self.source = source

    def say(self, changed: Mapping[str, Service | None], *, complete: bool = False) -> None:
        """Say that these services are so now, or (None) gone; `complete`: and there are no others.

        What was said before of others stays true, for as long as the source is there or lost. A service that
        is said again as it was costs a comparison and publishes nothing.
        """
        self._hub._unpublished.add(
            self._hub.merge.say(self.source, changed, complete=complete, now=time.time())
        )

    async def say_all(self, services: Mapping[str, Service]) -> None:
        """Say that these services are so, and that there are no others: as `say`, but in parts.

        Others have their turn in between. Cancelled: a part is said, and nothing was taken away.
        """
        items = list(services.items())
        for at in range(0, len(items), AT_ONCE):
            await trio.lowlevel.checkpoint()
            self.say(dict(items[at : at + AT_ONCE]))
        self.say(dict.fromkeys(self.said() - services.keys()))

    def said(self) -> set[str]:
        """Give the keys of what this source says, be it from before it began anew."""
        return set(self._hub.merge.said(self.source))

    def stream(self, name: str) -> Stream:
        """Find the record of a stream by name, or begin one. The source keeps it true.

        Every essential stream of a source counts: the source is lost when one of them has not been live for
        a while.
        """
        streams = self._hub.streams.setdefault(self.source, {})
        if name not in streams:
            streams[name] = Stream(self.source, name, since=time.time())
        return streams[name]

    def end_stream(self, name: str) -> None:
        """Drop the record of a stream that is wanted no more."""
        self._hub.streams.get(self.source, {}).pop(name, None)


def _ends(service: Service | None) -> int:
    return sum(len(port.endpoints) for port in service.every_port) if service is not None else 0


def _why_lost(streams: Collection[Stream]) -> str:
    failing = [one for one in streams if one.essential and one.state is not State.LIVE]
    return next((f"{one.name}: {one.last_error}" for one in failing if one.last_error), "no answer")
