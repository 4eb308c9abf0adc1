"""Shell. Two sealed hops as a process: plain connections in, TLS between two relays, plain connections out.

python -m tests.support.sealed_hops LISTEN:TO [LISTEN:TO ...]      ports of 127.0.0.1
"""

import contextlib
import socket
import sys
from collections.abc import Iterator

import trio

from meshtrio.address import Address
from meshtrio.forward.dial import dial
from meshtrio.forward.relay import Relay
from meshtrio.forward.sealed import Sealed
from meshtrio.forward.tcp import close_with_reset, tune
from meshtrio.secure.handshake import HandshakeError, accept_securely, dial_securely
from meshtrio.secure.keyring import Keyring
from tests.support.rings import CLIENT, SERVER, ring

End = socket.socket | Sealed


class Hops:
    """What all connections share: one ring for both sides, and a relay for each."""

    def __init__(self) -> None:
        self.ring: Keyring = ring()
        self.outbound, self.inbound = Relay(), Relay()

    async def run(self, ways: list[tuple[int, int]]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.outbound.run)
            await nursery.start(self.inbound.run)
            for front, behind in ways:
                nursery.start_soon(self.serve, listening(front), behind)
            print("ready", flush=True)

    async def serve(self, front: socket.socket, to_port: int) -> None:
        between = listening(0)
        where = Address.of("127.0.0.1", between.getsockname()[1])
        async with trio.open_nursery() as nursery:

            async def accept(listener: socket.socket, *, outward: bool) -> None:
                while True:
                    await trio.lowlevel.wait_readable(listener)
                    with contextlib.suppress(BlockingIOError):
                        sock, _ = listener.accept()
                        if outward:
                            nursery.start_soon(self.outwards, sock, where)
                        else:
                            nursery.start_soon(self.inwards, sock, Address.of("127.0.0.1", to_port))

            nursery.start_soon(lambda: accept(front, outward=True))
            nursery.start_soon(lambda: accept(between, outward=False))

    async def outwards(self, client: socket.socket, where: Address) -> None:
        with failing(client):
            upstream = fresh()
            await dial(upstream, where)
            made = await dial_securely(
                upstream, ring=self.ring, workload=CLIENT, address=where, expected=None
            )
            await self.outbound.carry(client, made.end, idle_s=0)

    async def inwards(self, client: socket.socket, where: Address) -> None:
        with failing(client):
            made = await accept_securely(client, ring=self.ring, workload=SERVER)
            upstream = fresh()
            await dial(upstream, where)
            await self.inbound.carry(made.end, upstream, idle_s=0)


@contextlib.contextmanager
def failing(client: socket.socket) -> Iterator[None]:
    """Reset the client if it could not be carried."""
    try:
        yield
    except (OSError, HandshakeError) as why:
        print("failed:", why, file=sys.stderr)
    finally:
        close_with_reset(client)


def fresh() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    tune(sock)
    return sock


def listening(port: int) -> socket.socket:
    sock = socket.create_server(("127.0.0.1", port), backlog=1024)
    sock.setblocking(False)
    tune(sock)
    return sock


if __name__ == "__main__":
    pairs = [word.split(":") for word in sys.argv[1:]]
    trio.run(Hops().run, [(int(front), int(behind)) for front, behind in pairs])
