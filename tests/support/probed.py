"""Shell. Peers for probes: real sockets that answer well, badly, or not at all. Does not know the probes."""

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import h2.connection
import h2.events
import h2.exceptions
import trio
from h2.config import H2Configuration

from meshtrio.address import Address

Serve = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[Address]:
    """Serve connections on a port of its own, until the block ends."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=host)

        async def one(stream: trio.SocketStream) -> None:
            # What a client does to its connection is for the test to see, not to fall over.
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async with stream:
                    await serve(stream)

        nursery.start_soon(trio.serve_listeners, one, listeners)
        yield Address.of(*listeners[0].socket.getsockname()[:2])
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def refusing(host: str = "127.0.0.1") -> Iterator[Address]:
    """Keep a port on which nobody listens."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        yield Address.of(*sock.getsockname()[:2])


@contextlib.contextmanager
def black_hole() -> Iterator[Address]:
    """Keep a port whose backlog is full: the kernel throws every further SYN away."""
    with contextlib.ExitStack() as held:
        sock = held.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(4):
            client = held.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
        yield Address.of(*sock.getsockname()[:2])


def saying(*parts: bytes, request_end: bytes = b"\r\n\r\n") -> Serve:
    """Make a server that hears a request out, says this, and closes when the client has."""

    async def serve(stream: trio.SocketStream) -> None:
        heard = b""
        while request_end not in heard:
            if not (chunk := await stream.receive_some(65_536)):
                return
            heard += chunk
        for part in parts:
            await stream.send_all(part)
        while await stream.receive_some(65_536):
            pass

    return serve


def endless(first: bytes, again: bytes) -> Serve:
    """Make a server that begins so, and never ends."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(first)
        while True:
            await stream.send_all(again)

    return serve


def _understood(connection: h2.connection.H2Connection, chunk: bytes) -> list[h2.events.Event]:
    try:
        return connection.receive_data(chunk)
    except h2.exceptions.ProtocolError:
        return []


class HealthService:
    """The server side of grpc.health.v1, over h2c."""

    def __init__(self, statuses: dict[str, int]) -> None:
        """Answer with these numbers, by service; NOT_FOUND for others, as the protocol wants it."""
        self.statuses = statuses
        self.requests: list[tuple[dict[bytes, bytes], bytes]] = []
        self.ended: list[str] = []
        """How each connection ended: goaway, eof or reset."""

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        connection = h2.connection.H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        await stream.send_all(connection.data_to_send())
        heads: dict[int, dict[bytes, bytes]] = {}
        bodies: dict[int, bytes] = {}
        end = "eof"
        try:
            while chunk := await stream.receive_some(65_536):
                for event in _understood(connection, chunk):
                    match event:
                        case h2.events.RequestReceived(stream_id=number, headers=headers):
                            heads[number], bodies[number] = dict(headers or ()), b""
                        case h2.events.DataReceived(stream_id=number, data=data):
                            bodies[number] += data or b""
                        case h2.events.StreamEnded(stream_id=number):
                            self._answer(connection, number, heads[number], bodies[number])
                        case h2.events.ConnectionTerminated():
                            end = "goaway"
                await stream.send_all(connection.data_to_send())
        except trio.BrokenResourceError:
            end = "reset"
        self.ended.append(end)

    def _answer(
        self, connection: h2.connection.H2Connection, number: int, head: dict[bytes, bytes], body: bytes
    ) -> None:
        self.requests.append((head, body))
        name = body[7:].decode()  # five bytes of frame, tag, length: names here are short
        ok = [(":status", "200"), ("content-type", "application/grpc")]
        if name not in self.statuses:
            missing = [*ok, ("grpc-status", "5"), ("grpc-message", "unknown service")]
            connection.send_headers(number, missing, end_stream=True)
            return
        connection.send_headers(number, ok)
        status = self.statuses[name]
        message = bytes((8, status)) if status else b""
        connection.send_data(number, bytes(1) + len(message).to_bytes(4, "big") + message)
        connection.send_headers(number, [("grpc-status", "0")], end_stream=True)
