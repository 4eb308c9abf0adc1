"""Shell. One door with real servers behind it, and an agent played by the test, for tests of the way.

Does not know the worker: a connection is accepted and carried when the test says so.
"""

import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import trio

from meshtrio.address import Address
from meshtrio.catalog.service import Found
from meshtrio.channel import ChannelClosed, LocalChannel, local_pair
from meshtrio.config.schema import Timeouts
from meshtrio.forward.relay import Relay
from meshtrio.forward.workbench import RelayLimits
from meshtrio.intercept.arrival import Door
from meshtrio.intercept.netns import Netns
from meshtrio.interest import Interest
from meshtrio.messages import Connection, Resolve, Resolved, ToAgent, ToWorker
from meshtrio.way import carry
from meshtrio.worker_site import Site
from tests.support.worker_side import SHOP, VIP, HandMaps, arrived, door_in, hand_maps

REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
QUICK = Timeouts(connect_s=0.25, connect_try_s=0.1, idle_s=0)


class Records(logging.Handler):
    """What was logged of connections that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "connection":
            self.seen.append(record.__dict__["fields"])


@contextlib.contextmanager
def recorded() -> Iterator[list[dict[str, Any]]]:
    """Keep what is logged of connections that end."""
    logger, records = logging.getLogger("meshtrio"), Records()
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.DEBUG)
    yield records.seen
    logger.removeHandler(records)
    logger.setLevel(level)


class Scene:
    """A site with one door, and an agent that knows this catalog."""

    def __init__(self, site: Site, door: Door, maps: HandMaps) -> None:
        self.site, self.door, self.maps = site, door, maps
        self.catalog: dict[Address, Found] = {}
        self.asked: list[Address] = []
        self.scope = trio.CancelScope()
        self.bug: BaseException | None = None
        self.client: socket.socket | None = None
        self.at = next(address for address in door.addresses if address.is_v4)

    def configure(self, **settings: Any) -> None:
        self.site.settle(msgspec.structs.replace(self.site.config, **settings))

    async def dial(self, dialled: Address | None = VIP) -> trio.SocketStream:
        """Come to the door as if something else had been dialled; `carry_one` takes the connection."""
        return await arrived(self.maps.dialling(self.door.netns.id, self.at, dialled), self.at)

    async def carry_one(self, scope: trio.CancelScope) -> None:
        listener = next(one for one in self.door.listeners if one.family == socket.AF_INET)
        await trio.lowlevel.wait_readable(listener)
        [(self.client, peer)], _ = self.door.accept(listener, 1)
        try:
            with scope:
                await carry(self.site, self.door, self.client, peer)
        except Exception as bug:  # noqa: BLE001
            self.bug = bug

    async def play_agent(self, agent: LocalChannel[ToAgent, ToWorker]) -> None:
        while True:
            try:
                message, _ = await agent.receive()
            except ChannelClosed:
                return
            assert isinstance(message, Resolve)
            self.asked.append(message.address)
            await agent.send(Resolved(message.address, self.catalog.get(message.address)))

    async def play_worker(self, line: LocalChannel[ToWorker, ToAgent]) -> None:
        while True:
            try:
                message, _ = await line.receive()
            except ChannelClosed:
                return
            assert isinstance(message, Resolved)
            self.site.interest.learn(message)


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    pair: tuple[LocalChannel[ToAgent, ToWorker], LocalChannel[ToWorker, ToAgent]] = local_pair()
    agent, line = pair
    site = Site(Interest(line), Relay(RelayLimits(sweep_s=0.02, drain_s=0.2)), start=0)
    netns = Netns.current()
    with contextlib.closing(netns), hand_maps() as maps, door_in(netns, maps) as door, trio.fail_after(10):
        made = Scene(site, door, maps)
        site.doors[1], site.names[SHOP.id] = door, SHOP
        made.configure(timeouts=QUICK)
        async with trio.open_nursery() as nursery:
            await nursery.start(site.relay.run)
            nursery.start_soon(made.play_agent, agent)
            nursery.start_soon(made.play_worker, line)
            yield made
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def on_its_way(made: Scene, dialled: Address | None = VIP) -> AsyncIterator[trio.SocketStream]:
    """Have one connection carried; it has ended when the block has."""
    made.scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.carry_one, made.scope)
        yield await made.dial(dialled)


def only_ending(made: Scene, records: list[dict[str, Any]]) -> Connection:
    """Return how the only connection ended, and check that it is over: counted once, logged once, closed."""
    assert made.client is not None
    assert made.client.fileno() == -1
    assert len(made.site.ledger) == 0
    assert made.site.pending == 0
    tally = made.site.ledger.tally()
    assert tally is not None
    assert [count.connections for count in tally.counts] == [1]
    [ended] = tally.ended
    assert tally.counts[0].outcome is ended.outcome
    assert [record["outcome"] for record in records] == [ended.outcome.value if ended.outcome else None]
    return ended
