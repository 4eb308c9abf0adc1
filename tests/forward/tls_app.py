"""Shell. Applications that speak TLS by themselves, and sealed ends of ours, for the tests of `forward`."""

import contextlib
import socket
import ssl

import trio

from meshtrio.address import Address
from meshtrio.secure.handshake import Secured, accept_securely, dial_securely
from meshtrio.secure.keyring import Keyring
from tests.forward.peers import connected
from tests.support.rings import CLIENT, SERVER

SOMEWHERE = Address.of("127.0.0.1", 1)
RECORD = 16_384


class TlsApp:
    """TLS by Python's ssl over a trio socket, with the methods that the scripts use."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool) -> None:
        self.sock = trio.socket.from_stdlib_socket(sock)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side)
        self.owed = b""
        self.plain = bytearray()
        self.ended = False

    async def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                self.incoming.write(await self.sock.recv(RECORD))
            else:
                await self.flush()
                return

    async def flush(self) -> None:
        self.owed += self.outgoing.read()
        while self.owed:
            self.owed = self.owed[await self.sock.send(self.owed) :]

    async def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        await self.flush()
        sent = self.tls.write(data[:RECORD])
        await self.flush()
        return sent

    async def recv(self, size: int, flags: int = 0) -> bytes:
        while not self.plain and not self.ended:
            data = await self.sock.recv(65_536)
            if not data:
                raise ConnectionResetError("FIN without close_notify")
            self.incoming.write(data)
            self.decrypt()
        got = bytes(self.plain[:size])
        del self.plain[:size]
        return got

    def decrypt(self) -> None:
        while not self.ended:
            try:
                part = self.tls.read(RECORD)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                part = b""
            self.plain += part
            self.ended = not part

    def say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()

    def shutdown(self, how: int) -> None:
        self.say_goodbye()
        trio.lowlevel.spawn_system_task(self.end)

    async def end(self) -> None:
        try:
            await self.flush()
            self.sock.shutdown(socket.SHUT_WR)
        except (OSError, trio.ClosedResourceError):
            return

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        self.sock.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return self.sock.getsockopt(level, option, size)

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> "TlsApp":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def secured(
    ring: Keyring, family: int = socket.AF_INET, *, offered_bytes: int | None = None
) -> tuple[Secured, Secured]:
    """Connect two ends of ours: the one that dialled, and the one that was dialled."""
    dialling, dialled = connected(family)
    found: dict[str, Secured] = {}

    async def dial() -> None:
        found["dial"] = await dial_securely(
            dialling, ring=ring, workload=CLIENT, address=SOMEWHERE, expected=None
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        found["accept"] = await accept_securely(
            dialled, ring=ring, workload=SERVER, offered_bytes=offered_bytes
        )
    return found["dial"], found["accept"]


async def app_and_end(ring: Keyring, *, app_dials: bool) -> tuple[TlsApp, Secured]:
    """Connect an application that speaks TLS with an end of ours."""
    one, other = connected(socket.AF_INET)
    proof = ring.proof(CLIENT if app_dials else SERVER)
    app = TlsApp(one, proof.client if app_dials else proof.server, server_side=not app_dials)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app.handshake)
        if app_dials:
            end = await accept_securely(other, ring=ring, workload=SERVER)
        else:
            end = await dial_securely(other, ring=ring, workload=CLIENT, address=SOMEWHERE, expected=None)
    return app, end
