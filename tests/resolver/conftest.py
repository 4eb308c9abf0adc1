"""Shell. A resolver before the shop, on loopback, with a name server of our own behind it."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from meshtrio.config.discovery import Dns
from meshtrio.resolver.resolver import Resolver
from tests.support.dns_counter import Counter
from tests.support.nameserver import LoopbackDoor, Nameserver, both, bound
from tests.support.shop import SHOP


@pytest.fixture
def nameserver_sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with both() as sockets:
        yield sockets


@pytest.fixture
def door_sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with both() as sockets:
        yield sockets


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with bound(socket.SOCK_DGRAM) as made:
        yield made


@pytest.fixture
async def counter(
    nameserver_sockets: tuple[socket.socket, socket.socket],
    door_sockets: tuple[socket.socket, socket.socket],
    client: socket.socket,
) -> AsyncIterator[Counter]:
    nameserver = Nameserver(nameserver_sockets)
    door = LoopbackDoor(door_sockets, nameserver.address)
    resolver = Resolver(lambda: SHOP, Dns())
    async with trio.open_nursery() as served:
        served.start_soon(nameserver.run)
        served.start_soon(resolver.serve, door)
        yield Counter(resolver, door, nameserver, client)
        served.cancel_scope.cancel()
