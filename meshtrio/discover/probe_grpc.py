"""Shell. One grpc.health.v1.Health/Check over a connection. Does not know who is probed, nor about deadlines.

HTTP/2 with prior knowledge, by h2, which the admin port has brought into the agent already. The two messages
of the protocol (grpc/health/v1/health.proto) have one field each, so they are read and written here.
"""

import contextlib

import h2.connection
import h2.events
import trio
from h2.config import H2Configuration
from h2.exceptions import H2Error

from meshtrio.catalog.probing import Answer, Finding, Manner, Target
from meshtrio.discover.probe_tcp import Unanswered, receive, send_all

ANSWER_BYTES = 65_536
"""How much is read of an answer, which has some hundred bytes. More: failed."""

_SERVING = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_CODES = {
    5: "NOT_FOUND",
    7: "PERMISSION_DENIED",
    12: "UNIMPLEMENTED",
    14: "UNAVAILABLE",
    16: "UNAUTHENTICATED",
}
"""The usual ones of https://grpc.io/docs/guides/status-codes/."""


class MessageError(Exception):
    """These bytes are no answer of a health check."""


async def ask_grpc(sock: trio.socket.SocketType, target: Target) -> Answer:
    """Ask, and judge what it says of the service. Unanswered if the connection is cut before."""
    connection = h2.connection.H2Connection(H2Configuration(client_side=True))
    try:
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, _head(target.manner))
        connection.send_data(stream, request(target.manner.grpc_service), end_stream=True)
    except H2Error as wrong:
        return Answer(Finding.VOID, f"the check is no gRPC request: {wrong}")
    await send_all(sock, connection.data_to_send())
    reply = _Reply()
    left = ANSWER_BYTES
    while not reply.answer and left > 0:
        chunk = await receive(sock, min(left, 8192))
        if left == ANSWER_BYTES and chunk.startswith(b"HTTP/"):
            # To h2 this is the beginning of a frame of 4.7 MB, for which it would wait.
            return Answer(Finding.FAILED, "answers what is not HTTP/2: HTTP/1")
        left -= len(chunk)
        try:
            events = connection.receive_data(chunk)
        except H2Error as wrong:
            return Answer(Finding.FAILED, f"answers what is not HTTP/2: {wrong}")
        for event in events:
            reply.take(event)
        if not reply.answer:
            await send_all(sock, connection.data_to_send())
    with contextlib.suppress(Unanswered, H2Error):
        connection.close_connection()
        await send_all(sock, connection.data_to_send())
    return reply.answer or Answer(Finding.FAILED, f"answers with more than {ANSWER_BYTES} bytes")


def _head(manner: Manner) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", manner.host),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "meshtrio-probe"),
        ("grpc-timeout", f"{int(manner.timeout_s * 1000)}m"),
        *((name.lower(), value) for name, value in manner.headers),
    ]


class _Reply:
    """What has come so far, and the answer as soon as there is one."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self._fields: dict[bytes, bytes] = {}
        self._body = b""

    def take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self._fields |= dict(event.headers or ())
            case h2.events.DataReceived():
                self._body += event.data or b""
            case h2.events.StreamEnded():
                self.answer = judged(self._fields, self._body)
            case h2.events.StreamReset():
                self.answer = Answer(Finding.FAILED, f"resets the call: {_code(event.error_code)}")
            case h2.events.ConnectionTerminated():
                self.answer = Answer(Finding.FAILED, f"ends the connection: {_code(event.error_code)}")


def _code(code: object) -> str:
    return str(getattr(code, "name", code))


def judged(fields: dict[bytes, bytes], body: bytes) -> Answer:
    """Judge a whole reply: its fields (head and trailers) and its body."""
    status = fields.get(b":status", b"").decode(errors="replace")
    if status != "200":
        return Answer(Finding.FAILED, f"HTTP {status}")
    code = fields.get(b"grpc-status", b"").decode(errors="replace")
    if code != "0":
        number = int(code) if code.isascii() and code.isdigit() and len(code) < 3 else -1
        words = _CODES.get(number, f"grpc-status {code}" if code else "no grpc-status")
        why = fields.get(b"grpc-message", b"").decode(errors="replace")
        return Answer(Finding.FAILED, f"{words}: {why}" if why else words)
    try:
        serving = serving_status(body)
    except MessageError as wrong:
        return Answer(Finding.FAILED, f"answers what is no health: {wrong}")
    found = Finding.PASSED if serving == 1 else Finding.FAILED
    return Answer(found, _SERVING.get(serving, f"status {serving}"))


def request(service: str) -> bytes:
    """Write HealthCheckRequest{service}, framed."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return bytes(1) + len(message).to_bytes(4, "big") + message


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*written, number))


def serving_status(body: bytes) -> int:
    """Read the number in a framed HealthCheckResponse. MessageError if it is none."""
    if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise MessageError("not one message")
    if body[0]:
        raise MessageError("compressed")
    status, at = 0, 5
    while at < len(body):
        tag, at = _read_varint(body, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _read_varint(body, at)
            status = value if number == 1 else status
        elif wire_type == 2:
            length, at = _read_varint(body, at)
            at += length
        elif wire_type in (1, 5):
            at += 8 if wire_type == 1 else 4
        else:
            raise MessageError(f"wire type {wire_type}")
    if at > len(body):
        raise MessageError("cut off")
    return status


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(body):
            raise MessageError("cut off")
        value |= (body[at] & 0x7F) << shift
        at += 1
        if body[at - 1] < 0x80:
            return value, at
    raise MessageError("a number of more than ten bytes")
