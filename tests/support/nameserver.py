"""Shell. A name server of our own on loopback, by UDP and TCP, and a door on loopback before a Resolver.

What the name server replies is said by the name: nope... is not there (and nothing under cluster.local is),
empty... has nothing, silent... gets no reply, slow... gets one after 50 ms, big... has 100 addresses,
forged... gets wrong replies before the right one, cut... gets half a reply, bare... an error without the
question. All others have one address, made of the name.
"""

import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import trio

from meshtrio.address import Address

SLOW_S = 0.05


def bound(kind: int, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Make a socket that does not block, bound to loopback; listening, if it is for TCP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
        made.bind((host, port))
        if kind == socket.SOCK_STREAM:
            made.listen(256)
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def both(host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Bind UDP and TCP to one port."""
    for _ in range(20):
        with bound(socket.SOCK_STREAM, host, port) as tcp:
            try:
                udp = bound(socket.SOCK_DGRAM, host, tcp.getsockname()[1])
            except OSError:
                if port:
                    raise
                continue
            with udp:
                yield udp, tcp
                return
    raise AssertionError("no port is free for both")


def address_of(one: socket.socket) -> Address:
    return Address.of(*one.getsockname()[:2])


class LoopbackDoor:
    """A DnsDoor whose processes all mean one resolver."""

    def __init__(self, sockets: tuple[socket.socket, socket.socket], resolver: Address | None) -> None:
        self.udp = (sockets[0],)
        self.tcp = (sockets[1],)
        self.workload_namespace = "shop"
        self.resolver = resolver
        self.asked: list[tuple[Address, bool]] = []
        self.address = address_of(sockets[0])

    def resolver_of(self, source: Address, *, tcp: socket.socket | None) -> Address | None:
        self.asked.append((source, tcp is not None))
        return self.resolver

    def socket(self, kind: socket.SocketKind, family: socket.AddressFamily) -> socket.socket:
        return socket.socket(family, kind | socket.SOCK_NONBLOCK)


def own_address(name: str) -> str:
    """Say which address a name has that has one."""
    return ".".join(map(str, zlib.crc32(name.lower().rstrip(".").encode()).to_bytes(4, "big")))


def reply(raw: bytes, *, tcp: bool) -> bytes:
    """Say what the name server replies, in the end."""
    try:
        query = dns.message.from_wire(raw)
        question = query.question[0]
        said = dns.message.make_response(query)
    except (dns.exception.DNSException, IndexError):
        return raw[:2] + b"\x81\x81" + bytes(8)
    said.flags |= dns.flags.RA
    name = question.name.to_text()
    if name.startswith("bare"):
        return raw[:2] + b"\x81\x85" + bytes(8)
    absent = name.startswith("nope") or name.endswith("cluster.local.")
    if absent or name.startswith("empty"):
        said.set_rcode(dns.rcode.NXDOMAIN if absent else dns.rcode.NOERROR)
        said.authority.append(
            dns.rrset.from_text("example.", 60, "IN", "SOA", "ns.example. me.example. 1 2 3 4 30")
        )
    elif name.startswith("big"):
        addresses = [f"10.9.0.{n}" for n in range(100)]
        said.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", *addresses))
    elif question.rdtype == 1:
        said.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", own_address(name)))
    limit = 65_535 if tcp else max(512, query.payload if query.edns >= 0 else 512)
    return said.to_wire(max_size=limit, prefer_truncation=True)


class Nameserver:
    """The sockets, and what they were asked."""

    def __init__(self, sockets: tuple[socket.socket, socket.socket]) -> None:
        self.udp, self.tcp = sockets
        self.address = address_of(self.udp)
        self.queries: list[tuple[bytes, bool]] = []
        self.ports: list[int] = []

    async def run(self) -> None:
        """Reply until cancelled."""
        async with trio.open_nursery() as servers:
            servers.start_soon(self._datagrams)
            servers.start_soon(self._streams)

    async def _datagrams(self) -> None:
        udp = trio.socket.from_stdlib_socket(self.udp)
        async with trio.open_nursery() as replies:
            while True:
                raw, source = await udp.recvfrom(65_535)
                self.queries.append((raw, False))
                self.ports.append(source[1])
                replies.start_soon(self._reply_to, udp, raw, source)

    async def _reply_to(self, udp: trio.socket.SocketType, raw: bytes, source: tuple[str, int]) -> None:
        name = raw[13:]
        if name.startswith(b"silent"):
            return
        if name.startswith(b"slow"):
            await trio.sleep(SLOW_S)
        said = reply(raw, tcp=False)
        if name.startswith(b"forged"):
            await udp.sendto(b"", source)
            await udp.sendto(said[:9], source)
            await udp.sendto(bytes((said[0] ^ 1,)) + said[1:], source)
            await udp.sendto(said[:2] + b"\0" + said[3:], source)
            await udp.sendto(said.replace(b"\x06forged", b"\x06forger"), source)
            with bound(socket.SOCK_DGRAM) as other:
                other.sendto(said.replace(said[-4:], b"\x06\x06\x06\x06"), source)
        await udp.sendto(said, source)

    async def _streams(self) -> None:
        async with trio.open_nursery() as connections:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(self.tcp))
            while True:
                connections.start_soon(self._converse, await listener.accept())

    async def _converse(self, stream: trio.SocketStream) -> None:
        async with stream:
            received = b""
            while some := await stream.receive_some(4096):
                received += some
                while len(received) >= 2 and len(received) >= (
                    end := 2 + int.from_bytes(received[:2], "big")
                ):
                    raw, received = received[2:end], received[end:]
                    self.queries.append((raw, True))
                    if raw[13:].startswith(b"silent"):
                        continue
                    if raw[13:].startswith(b"slow"):
                        await trio.sleep(SLOW_S)
                    said = reply(raw, tcp=True)
                    framed = len(said).to_bytes(2, "big") + said
                    if raw[13:].startswith(b"cut"):
                        await stream.send_all(framed[: len(framed) // 2])
                        return
                    if raw[13:].startswith(b"forged"):
                        framed = b"\0\0\0\x03abc" + framed
                    for at in range(0, len(framed), 700):
                        await stream.send_all(framed[at : at + 700])


async def asked(client: socket.socket, door: Address, raw: bytes) -> bytes:
    """Send a query by UDP and wait for what comes back."""
    client.sendto(raw, (door.host, door.port))
    await trio.lowlevel.wait_readable(client)
    return client.recv(65_535)
