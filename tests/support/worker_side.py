"""Shell. What a worker gets from an agent, made by a test: maps, doors, an agent that answers; and servers.

The maps are real and nobody's hooks fill them: a test notes there what the hooks would have noted. Does not
know the worker.
"""

import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import trio

from meshtrio.address import Address
from meshtrio.catalog.service import Endpoint, Found, Service, ServicePort
from meshtrio.intercept import bpf
from meshtrio.intercept.arrival import Door, KernelMaps
from meshtrio.intercept.doors import open_doors
from meshtrio.intercept.layout import (
    LISTENER_BYTES,
    ORIGIN_BYTES,
    PLACE_BYTES,
    PORT_KEY_BYTES,
    VOUCHER_BYTES,
    VOUCHER_WORKLOAD_BYTES,
    Origin,
    place,
)
from meshtrio.intercept.netns import Netns
from meshtrio.messages import Direction, OpenDoor, WorkloadName

HASH, ARRAY = 1, 2
VIP = Address.of("10.96.0.10", 80)
SHOP = WorkloadName(7, "shop")
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class HandMaps:
    """The maps of a worker, filled by hand."""

    def __init__(self, entries: int = 4096) -> None:
        shapes = (
            (HASH, PLACE_BYTES, ORIGIN_BYTES),
            (HASH, PLACE_BYTES, 8),
            (HASH, PORT_KEY_BYTES, LISTENER_BYTES),
        )
        self.descriptors = [
            bpf.create_map(kind, "by_hand", (key_bytes, value_bytes, entries))
            for kind, key_bytes, value_bytes in shapes
        ]
        self.descriptors.append(bpf.create_map(ARRAY, "by_hand", (4, 8, 1)))
        shape = (VOUCHER_BYTES, VOUCHER_WORKLOAD_BYTES, entries)
        self.descriptors.append(bpf.create_map(HASH, "by_hand", shape))
        self.wrapped = KernelMaps.of(self.descriptors)

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)

    def remember(
        self, netns: int, source: Address, door: Address, dialled: Address, workload: int = SHOP.id
    ) -> None:
        """Note what a connection from this source has dialled, as the connect hook does."""
        origin = dialled.pack() + bytes(2) + struct.pack("<I", workload)
        bpf.update(self.descriptors[0], place(netns, source, door.port), origin)

    def origin(self, netns: int, source: Address, door: Address) -> bytes | None:
        return bpf.look_up(self.descriptors[0], place(netns, source, door.port), ORIGIN_BYTES)

    def our_dials(self) -> list[bytes]:
        return list(bpf.keys(self.descriptors[1], PLACE_BYTES))

    def heartbeat(self) -> int:
        raw = bpf.look_up(self.descriptors[3], bytes(4), 8)
        assert raw is not None
        return int.from_bytes(raw, "little")

    def dialling(self, netns: int, door: Address, dialled: Address | None) -> socket.socket:
        """Make a socket that will come to the door as if it had dialled something else; not connected yet."""
        made = socket.socket(socket.AF_INET if door.is_v4 else socket.AF_INET6)
        made.bind((door.host, 0))
        if dialled is not None:
            self.remember(netns, Address.of(*made.getsockname()[:2]), door, dialled)
        return made


@contextlib.contextmanager
def hand_maps(entries: int = 4096) -> Iterator[HandMaps]:
    made = HandMaps(entries)
    with contextlib.closing(made):
        yield made


@contextlib.contextmanager
def door_in(
    netns: Netns, maps: HandMaps | None, *, direction: Direction = "outbound", **more: object
) -> Iterator[Door]:
    """Open doors there and hand them over, as the agent does to a worker."""
    with contextlib.closing(open_doors(netns, 0, wildcard=bool(more.pop("wildcard", False)))) as doors:
        opened = OpenDoor(
            door=1,
            direction=direction,
            rung=more.pop("rung", "ebpf"),  # type: ignore[arg-type]
            netns=netns.id,
            workload=SHOP,
            listeners=len(doors.sockets),
            transparent=bool(more.pop("transparent", False)),
        )
        assert not more
        descriptors = [os.dup(one) for one in (netns.descriptor, *(sock.fileno() for sock in doors.sockets))]
        made = Door(opened, descriptors, maps.wrapped if maps else None)
    with contextlib.closing(made):
        yield made


def address_of(sock: socket.socket) -> Address:
    return Address.of(*sock.getsockname()[:2])


def found(*addresses: Address, name: str = "web") -> Found:
    """Make a service with these endpoints, e0, e1, ... in this order."""
    endpoints = tuple(Endpoint(f"e{number}", address) for number, address in enumerate(addresses))
    port = ServicePort("http", VIP.port, endpoints)
    return Found(Service(name, vips=(VIP.ip,), ports=(port,)), port)


@contextlib.contextmanager
def refusing() -> Iterator[Address]:
    """Hold a port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield address_of(bound)


@contextlib.contextmanager
def silent() -> Iterator[Address]:
    """Listen with a full backlog and never accept: who dials here hears nothing."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield address_of(listener)


async def echo(stream: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        async for heard in stream:
            await stream.send_all(heard)
        await stream.send_eof()


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[trio.SocketStream], Awaitable[object]] = echo, family: int = socket.AF_INET
) -> AsyncIterator[Address]:
    """Serve on loopback with a handler for as long as the block lasts."""
    listener = socket.create_server((LOOPBACK[socket.AddressFamily(family)], 0), family=family, backlog=1024)
    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            trio.serve_listeners, handler, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
        )
        yield address_of(listener)
        nursery.cancel_scope.cancel()


async def arrived(sock: socket.socket, to: Address) -> trio.SocketStream:
    """Connect a socket that was prepared, and give its stream."""
    made = trio.socket.from_stdlib_socket(sock)
    try:
        await made.connect((to.host, to.port))
    except BaseException:
        made.close()
        raise
    return trio.SocketStream(made)


async def talk(stream: trio.SocketStream, data: bytes) -> bytes:
    """Say all of it, end, and return everything that comes back. Closes."""
    async with stream:
        await stream.send_all(data)
        await stream.send_eof()
        heard = b""
        async for piece in stream:
            heard += piece
        return heard


async def is_reset(stream: trio.SocketStream) -> bool:
    """Say whether the stream ends by RST rather than by FIN. Closes."""
    async with stream:
        try:
            while await stream.receive_some(4096):
                pass
        except trio.BrokenResourceError:
            return True
    return False


def origin(host: str, port: int, workload: int = SHOP.id) -> Origin:
    return Origin(Address.of(host, port), workload)
