"""Shell. The agent's end of the line to one worker, which runs here or as a process. Does as a test says."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import trio

from meshtrio.address import Address
from meshtrio.catalog.service import Found
from meshtrio.channel import Channel, ChannelClosed, SocketChannel, local_pair
from meshtrio.config.schema import Config, Log, Timeouts
from meshtrio.intercept.doors import open_doors
from meshtrio.intercept.netns import Netns
from meshtrio.messages import (
    Connection,
    Count,
    Forget,
    Live,
    Maps,
    Observed,
    OpenDoor,
    Ready,
    Resolve,
    Resolved,
    Settings,
    Tally,
    ToAgent,
    ToWorker,
)
from meshtrio.questions import Report
from meshtrio.worker import Worker
from tests.support.worker_side import SHOP, VIP, HandMaps, address_of, arrived, hand_maps

QUIET = Log(level="error", format="text")


class Agent:
    """The agent's end of the line to one worker, with one door."""

    def __init__(self, line: Channel[ToAgent, ToWorker], maps: HandMaps, netns: Netns) -> None:
        self.line, self.maps, self.netns = line, maps, netns
        self.catalog: dict[Address, Found] = {}
        self.asked: list[Address] = []
        self.counts: list[Count] = []
        self.ended: list[Connection] = []
        self.observed: list[Observed] = []
        self.readies = 0
        self.live: dict[int, Live] = {}
        self.heard = trio.Event()
        self.hung_up = trio.Event()
        self.worker: Worker | None = None
        self.worker_ended = trio.Event()

    async def hear(self) -> None:
        while True:
            try:
                message, _ = await self.line.receive()
            except ChannelClosed:
                self.hung_up.set()
                return
            match message:
                case Resolve(address=address):
                    self.asked.append(address)
                    await self.line.send(Resolved(address, self.catalog.get(address)))
                case Ready():
                    self.readies += 1
                case Tally():
                    self.counts += message.counts
                    self.ended += message.ended
                case Live():
                    self.live[message.number] = message
                case Observed():
                    self.observed.append(message)
                case Forget():
                    raise AssertionError("nothing was pushed out")
            self.heard.set()
            self.heard = trio.Event()

    async def told(self, message: ToWorker, descriptors: list[int] | None = None) -> None:
        """Send, and wait until it is in effect."""
        wanted = self.readies + 1
        await self.line.send(message, descriptors or [])
        while self.readies < wanted:
            await self.heard.wait()

    async def report(self, number: int) -> Live:
        await self.line.send(Report(number))
        while number not in self.live:
            await self.heard.wait()
        return self.live[number]

    async def open_door(self, number: int = 1) -> Address:
        """Open a door, of which only the worker has a descriptor afterwards."""
        with contextlib.closing(open_doors(self.netns, 0)) as doors:
            opened = OpenDoor(number, "outbound", "ebpf", self.netns.id, SHOP, len(doors.sockets))
            await self.told(opened, [self.netns.descriptor, *(one.fileno() for one in doors.sockets)])
            return address_of(doors.sockets[0])

    async def dial(self, door: Address, dialled: Address = VIP) -> trio.SocketStream:
        return await arrived(self.maps.dialling(self.netns.id, door, dialled), door)

    def dialled(self, door: Address, dialled: Address = VIP) -> trio.SocketStream:
        """Dial without giving any task a turn: the connection waits in the backlog."""
        made = self.maps.dialling(self.netns.id, door, dialled)
        made.connect((door.host, door.port))
        made.setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(made))


def settings(successor: str = "", **timeouts: float) -> Settings:
    return Settings(Config(timeouts=Timeouts(**timeouts), log=QUIET), successor)


@contextlib.asynccontextmanager
async def worker_in(netns: Netns, told: Settings | None = None) -> AsyncIterator[Agent]:
    """Run a worker inside this process until the block ends."""
    pair: tuple[Channel[ToAgent, ToWorker], Channel[ToWorker, ToAgent]] = local_pair()
    ours, theirs = pair
    with hand_maps() as maps, trio.fail_after(20):
        agent = Agent(ours, maps, netns)
        agent.worker = worker = Worker(theirs)

        async def work() -> None:
            await worker.run()
            agent.worker_ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            nursery.start_soon(agent.hear)
            await ours.send(Maps(), maps.descriptors)
            await agent.told(told or settings())
            yield agent
            nursery.cancel_scope.cancel()
        ours.close()


def started(line: socket.socket) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-m", "meshtrio.worker_process", str(line.fileno())]
    return subprocess.Popen(argv, pass_fds=[line.fileno()])


@contextlib.asynccontextmanager
async def worker_process(
    netns: Netns, maps: HandMaps
) -> AsyncIterator[tuple[Agent, "subprocess.Popen[bytes]"]]:
    """Run a worker as a process of its own."""
    ours, theirs = socket.socketpair()
    line: SocketChannel[ToAgent, ToWorker] = SocketChannel(ours, ToAgent)
    with theirs:
        process = started(theirs)
    agent = Agent(line, maps, netns)
    try:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent.hear)
                await line.send(Maps(), maps.descriptors)
                await agent.told(settings())
                yield agent, process
                nursery.cancel_scope.cancel()
    finally:
        line.close()
        process.kill()
        process.wait()
