"""Shell. The data process: its nursery tree, and nothing else.

    channel                    news from the agent, until the agent goes; then orphaned
    |- relay                   moves the bytes of all connections
       |- telling              tallies to the agent, once a second
       |- heartbeat            the hooks may send connections, once a second
       |- breakers             what was seen at endpoints, to the agent
       |- overtaken            connects that a hedge has overtaken: would they have stood?
          |- connections       one task a connection                     <- a drain puts its deadline here
             |- accepting      one task a listening socket               <- a drain cancels this first

Start order is outside in, stop order inside out. `run` serves both as a process of its own
(worker_process.py) and inside the agent (`--workers 0`).
"""

import contextlib
import math
import os
import random
import socket

import trio

from meshtrio.channel import Channel, ChannelClosed, close_all
from meshtrio.forward.relay import Relay
from meshtrio.intercept.arrival import Door, KernelMaps, room_for_more
from meshtrio.intercept.doors import BACKLOG
from meshtrio.intercept.netns import NetnsError
from meshtrio.interest import Interest
from meshtrio.messages import (
    CloseDoor,
    Drain,
    Maps,
    OpenDoor,
    Ready,
    Settings,
    ToAgent,
    ToWorker,
)
from meshtrio.observe import log
from meshtrio.questions import AskLoads, AskPick, Report
from meshtrio.successor import successor_ready
from meshtrio.way import carry
from meshtrio.worker_answers import answer
from meshtrio.worker_site import Site

ACCEPTS = 64
"""How many connections one listening socket may bring before others have their turn."""
BEAT_S = 1.0
TELL_S = 1.0


class Worker:
    """One worker: the shared site, and the scopes that a drain uses."""

    def __init__(self, channel: Channel[ToWorker, ToAgent]) -> None:
        """Prepare; `run` does the work."""
        self._channel = channel
        self._site = Site(Interest(channel), Relay(), start=random.randrange(1 << 16))
        self._maps: KernelMaps | None = None
        self._map_descriptors: list[int] = []
        self._successor = ""
        self._draining = trio.Event()
        self._drain_s = 0.0
        self._ending = trio.CancelScope()
        self._connections = 0
        self._orphaned = trio.Event()

    async def run(self) -> None:
        """Serve until told to drain, or until orphaned and succeeded. All connections have ended then."""
        try:
            await self._run()
        finally:
            for door in self._site.doors.values():
                door.close()
            close_all(self._map_descriptors)
            self._channel.close()

    async def _run(self) -> None:
        async with trio.open_nursery() as outer:
            await outer.start(self._site.relay.run)
            async with trio.open_nursery() as middle:
                middle.start_soon(self._tell)
                middle.start_soon(self._beat)
                middle.start_soon(self._site.breakers.run, self._channel)
                middle.start_soon(self._site.overtaken.run)
                async with trio.open_nursery() as connections:
                    async with trio.open_nursery() as accepting:
                        # Not in `accepting`: connections that are let out still ask the agent.
                        middle.start_soon(self._listen, accepting, connections)
                        accepting.start_soon(self._watch_orphanage)
                        await self._draining.wait()
                        accepting.cancel_scope.cancel()
                    self._take_the_last(connections)
                    self._ending = connections.cancel_scope
                    self._ending.deadline = trio.current_time() + self._drain_s
                middle.cancel_scope.cancel()
            with contextlib.suppress(ChannelClosed), trio.move_on_after(1):
                await self._send_tally()
            outer.cancel_scope.cancel()

    async def _listen(self, accepting: trio.Nursery, connections: trio.Nursery) -> None:
        """Do what the agent says, in order, until it goes."""
        try:
            while True:
                message, descriptors = await self._channel.receive()
                match message:
                    case Settings():
                        self._site.settle(message.config)
                        self._successor = message.successor
                        log.set_up(message.config.log)
                    case Maps():
                        close_all(self._map_descriptors)
                        self._map_descriptors = descriptors
                        self._maps = KernelMaps.of(descriptors)
                        self._site.neighbours.listener = self._maps.ports.listener
                        self._maps.heartbeat.beat()
                    case OpenDoor():
                        self._open_door(message, descriptors, accepting=accepting, connections=connections)
                    case CloseDoor():
                        self._close_door(message.door)
                    case Report() | AskLoads() | AskPick():
                        await self._channel.send(answer(self._site, message))
                    case Drain():
                        self._drain(message.drain_s)
                    case _:
                        await self._site.learn(message)
                if isinstance(message, Settings | OpenDoor | CloseDoor):
                    await self._channel.send(Ready(os.getpid()))
        except ChannelClosed:
            self._site.interest.alone = True
            self._orphaned.set()

    def _open_door(
        self, opened: OpenDoor, descriptors: list[int], *, accepting: trio.Nursery, connections: trio.Nursery
    ) -> None:
        if self._draining.is_set():
            close_all(descriptors)
            return
        try:
            door = Door(opened, descriptors, self._maps)
        except (NetnsError, OSError) as cause:
            log.warning("a door could not be opened", door=opened.door, why=str(cause))
            return
        self._site.doors[opened.door] = door
        self._site.know(opened.workload)
        self._site.forget_routes()
        door.tune(self._site.config.keepalive)
        for listener in door.listeners:
            accepting.start_soon(self._accept, door, listener, connections)

    def _close_door(self, number: int) -> None:
        door = self._site.doors.pop(number, None)
        if door is not None:
            for listener in door.listeners:
                trio.lowlevel.notify_closing(listener)
            door.stop()
            if not door.users:
                door.close()
            self._site.forget_routes()

    async def _accept(self, door: Door, listener: socket.socket, connections: trio.Nursery) -> None:
        # The door may be closed while we wait, and also between waking up and running.
        while listener.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(listener)
            except trio.ClosedResourceError:
                return
            if not self._take(door, listener, connections):
                await trio.sleep(0.1)

    def _take(
        self, door: Door, listener: socket.socket, connections: trio.Nursery, *, most: int = ACCEPTS
    ) -> bool:
        """Begin the connections that wait. False: descriptors or memory ran out, so wait a little."""
        room = room_for_more(self._connections, doors=len(self._site.doors))
        accepted, more = door.accept(listener, min(most, room))
        for client, peer in accepted:
            door.users += 1
            connections.start_soon(self._connection, door, client, peer)
        self._connections += len(accepted)
        return more and len(accepted) < room

    def _take_the_last(self, connections: trio.Nursery) -> None:
        """Accept what waits in the backlogs, then close the doors: closing first would reset those."""
        for door in self._site.doors.values():
            for listener in door.listeners:
                self._take(door, listener, connections, most=BACKLOG)
            door.stop()

    async def _connection(self, door: Door, client: socket.socket, peer: tuple[str, int]) -> None:
        """One connection. The border at which nothing may escape (STYLE: the connection and the process)."""
        try:
            await carry(self._site, door, client, peer)
        except Exception as bug:  # noqa: BLE001
            log.bug("a connection ended by a bug of ours", bug)
        finally:
            door.users -= 1
            self._connections -= 1
            if not door.users and door.opened.door not in self._site.doors:
                door.close()

    async def _tell(self) -> None:
        while True:
            await trio.sleep(TELL_S * random.uniform(0.9, 1.1))
            self._site.end_revoked(trio.current_time(), log.wall_now())
            with contextlib.suppress(ChannelClosed):
                await self._send_tally()

    async def _send_tally(self) -> None:
        tally = self._site.tally()
        if tally is None:
            return
        if self._site.interest.alone:
            self._site.ledger.put_back(tally)
            return
        # However long a stopped agent does not read: giving up amid a message would close the line.
        await self._channel.send(tally)

    async def _beat(self) -> None:
        """Say to the hooks that the doors are served. A worker that is stopped or dead says nothing."""
        while True:
            if self._maps is not None and not self._draining.is_set():
                self._maps.heartbeat.beat()
            await trio.sleep(BEAT_S)

    async def _watch_orphanage(self) -> None:
        """Go on without an agent. End without hurry once a successor is ready, or now if none will come."""
        await self._orphaned.wait()
        if self._successor:
            log.warning("the agent has gone; going on until a new one is ready", control=self._successor)
            while not await successor_ready(self._successor):
                await trio.sleep(random.uniform(0.5, 1.0))
        self._drain(math.inf if self._successor else self._site.config.timeouts.drain_s)

    def terminate(self) -> None:
        """Drain if there is no agent; else change nothing, for the agent will say when."""
        if self._orphaned.is_set():
            self._drain(self._site.config.timeouts.drain_s)

    def _drain(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self._ending.deadline = trio.current_time() + drain_s
        self._draining.set()
