"""Shell. What a test of the resolver has at hand: a served door, a client, and a name server behind."""

import socket
from typing import NamedTuple

import trio

from meshtrio.resolver.resolver import Resolver
from tests.support.nameserver import LoopbackDoor, Nameserver, asked


class Counter(NamedTuple):
    """What a test needs: a served door, a client's socket, and who replies to what is forwarded."""

    resolver: Resolver
    door: LoopbackDoor
    nameserver: Nameserver
    client: socket.socket

    async def ask(self, raw: bytes) -> bytes:
        """Ask by UDP."""
        with trio.fail_after(10):
            return await asked(self.client, self.door.address, raw)

    async def connect(self) -> trio.SocketStream:
        """Connect by TCP."""
        return await trio.open_tcp_stream(self.door.address.host, self.door.address.port)
