"""Shell. One FetchX509SVID call over a unix socket: gRPC by h2, which the agent carries already. Does not
know what becomes of what comes.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import h2.connection
import h2.events
import trio
from h2.config import H2Configuration
from h2.exceptions import H2Error

from meshtrio.issuers.spire_wire import CODES, SVID_PATH, Frames, Response, WireError, frame, read_response

CONNECT_S = 5.0
FIRST_S = 10.0
"""How long the first answer may take."""
WORDS = 200
_HEAD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", SVID_PATH),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("user-agent", "meshtrio"),
    # By this the agent knows that no browser was tricked into asking (Workload Endpoint, section 6.1).
    ("workload.spiffe.io", "true"),
]


class StreamError(Exception):
    """The stream has ended, or there is none; the words say why."""

    def __init__(self, words: str, code: int = -1) -> None:
        """`code` is gRPC's, if the other side said one."""
        super().__init__(words)
        self.code = code


@asynccontextmanager
async def responses(path: str) -> AsyncIterator[AsyncIterator[Response]]:
    """Give what the Workload API at this socket says: at once, and whenever that changes.

    The iterator ends with StreamError, never otherwise. The connection is closed when the block is left.
    """
    stream = await _connected(path)
    try:
        async with aclosing(_read(stream, path)) as told:
            yield told
    finally:
        await trio.aclose_forcefully(stream)


async def _connected(path: str) -> trio.SocketStream:
    try:
        with trio.fail_after(CONNECT_S):
            return await trio.open_unix_socket(path)
    except OSError as cause:
        raise StreamError(f"no Workload API at {path}: {cause.strerror or cause}") from cause
    except trio.TooSlowError:
        raise StreamError(f"the Workload API at {path} does not answer") from None


async def _read(stream: trio.SocketStream, path: str) -> AsyncGenerator[Response, None]:
    connection = h2.connection.H2Connection(H2Configuration(client_side=True))
    connection.initiate_connection()
    number = connection.get_next_available_stream_id()
    connection.send_headers(number, _HEAD)
    connection.send_data(number, frame(b""), end_stream=True)
    call = _Call(connection)
    deadline = trio.current_time() + FIRST_S
    try:
        while True:
            await stream.send_all(connection.data_to_send())
            with trio.fail_at(deadline):
                data = await stream.receive_some(65_536)
            if not data:
                raise StreamError("the SPIRE agent has closed the connection")
            if data.startswith(b"HTTP/"):
                # To h2 this is the beginning of a frame of 4.7 MB, for which it would wait.
                raise StreamError(f"what answers at {path} is no gRPC: it is HTTP/1")
            for event in connection.receive_data(bytes(data)):
                for message in call.take(event):
                    deadline = float("inf")
                    yield read_response(message)
    except trio.TooSlowError:
        raise StreamError(f"the Workload API at {path} does not answer") from None
    except (trio.BrokenResourceError, trio.ClosedResourceError) as cause:
        raise StreamError("the connection to the SPIRE agent broke off") from cause
    except H2Error as wrong:
        raise StreamError(f"what answers at {path} is no gRPC: {wrong}") from wrong
    except WireError as wrong:
        raise StreamError(f"what answers at {path} is no Workload API: {wrong}") from wrong


class _Call:
    """One call: its frames, and how it ends."""

    def __init__(self, connection: h2.connection.H2Connection) -> None:
        self._connection = connection
        self._frames = Frames()
        self._fields: dict[bytes, bytes] = {}

    def take(self, event: h2.events.Event) -> list[bytes]:
        """Take an event, and give the messages that are whole. StreamError if the call has ended."""
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self._fields |= dict(event.headers or ())
            case h2.events.DataReceived():
                if event.flow_controlled_length:
                    self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                return self._frames.feed(event.data or b"")
            case h2.events.StreamEnded():
                raise self._ended()
            case h2.events.StreamReset():
                raise StreamError("the SPIRE agent has reset the call")
            case h2.events.ConnectionTerminated():
                raise StreamError("the SPIRE agent is ending")
        return []

    def _ended(self) -> StreamError:
        status = self._field(b":status")
        if status != "200":
            return StreamError(f"the Workload API answers HTTP {status}")
        text = self._field(b"grpc-status")
        code = int(text) if text.isascii() and text.isdigit() and len(text) < 3 else -1
        name = CODES.get(code, f"grpc-status {text}" if text else "no grpc-status")
        why = self._field(b"grpc-message")
        return StreamError(f"the SPIRE agent says {name}{': ' if why else ''}{why}", code)

    def _field(self, name: bytes) -> str:
        text = self._fields.get(name, b"").decode(errors="replace")[:WORDS]
        return "".join(one if one.isprintable() else " " for one in text)
