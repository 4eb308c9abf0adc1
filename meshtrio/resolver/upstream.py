"""Shell. One query to another resolver and its reply, by a socket of their own. Knows no names.

Of its own, so that the kernel picks a new source port for each query (RFC 5452, section 9.2), and so that
nothing of one query can be taken for another's.
"""

import socket
from collections.abc import Callable

import trio

from meshtrio.address import Address
from meshtrio.resolver.door import DnsDoor

MESSAGE_BYTES = 65_535

IsReply = Callable[[bytes], bool]


async def ask_by_udp(door: DnsDoor, server: Address, query: bytes, is_reply: IsReply) -> bytes:
    """Ask, and wait for the reply, however long. OSError if the network says that there will be none."""
    with door.socket(socket.SOCK_DGRAM, _family(server)) as asking:
        asking.connect((server.host, server.port))  # from now on the kernel takes nothing from anybody else
        asking.send(query)
        while True:
            await trio.lowlevel.wait_readable(asking)
            try:
                reply = asking.recv(MESSAGE_BYTES)
            except BlockingIOError:
                continue
            if is_reply(reply):
                return reply


async def ask_by_tcp(door: DnsDoor, server: Address, query: bytes, is_reply: IsReply) -> bytes:
    """Ask, and wait for the reply, however long. OSError if there will be none."""
    with trio.socket.from_stdlib_socket(door.socket(socket.SOCK_STREAM, _family(server))) as asking:
        await asking.connect((server.host, server.port))
        framed = memoryview(len(query).to_bytes(2, "big") + query)
        while framed:
            framed = framed[await asking.send(framed) :]
        while True:
            length = int.from_bytes(await _exactly(asking, 2), "big")
            reply = await _exactly(asking, length)
            if is_reply(reply):
                return reply


async def _exactly(stream: trio.socket.SocketType, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        some = await stream.recv(count - len(received))
        if not some:
            raise ConnectionResetError("the resolver ended the connection without a reply")
        received += some
    return bytes(received)


def _family(server: Address) -> socket.AddressFamily:
    return socket.AF_INET if server.is_v4 else socket.AF_INET6
