"""grpc.health.v1 against a peer of our own, and the bytes of its two messages."""

import contextlib

import h2.connection
import pytest
import trio
from h2.config import H2Configuration
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.probing import Answer, Finding, Manner, Target
from meshtrio.discover.probe_grpc import ANSWER_BYTES, MessageError, ask_grpc, judged, request, serving_status
from meshtrio.discover.probe_tcp import Unanswered, leave
from tests.support.probed import HealthService, endless, saying, serving


def manner(service: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Manner:
    return Manner("grpc", host="orders", grpc_service=service, headers=headers)


async def asked(address: Address, how: Manner) -> Answer:
    sock = trio.socket.socket(trio.socket.AF_INET)
    await sock.connect((address.host, address.port))
    try:
        with trio.fail_after(5):
            return await ask_grpc(sock, Target(address, how))
    except Unanswered as end:
        return end.answer
    finally:
        await leave(sock)


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("", Answer(Finding.PASSED, "SERVING")),
        ("orders.v1", Answer(Finding.FAILED, "NOT_SERVING")),
        ("lazy", Answer(Finding.FAILED, "UNKNOWN")),
        ("third", Answer(Finding.FAILED, "SERVICE_UNKNOWN")),
        ("none", Answer(Finding.FAILED, "NOT_FOUND: unknown service")),
    ],
)
async def test_the_status_of_the_service_decides(service: str, expected: Answer) -> None:
    peer = HealthService({"": 1, "orders.v1": 2, "lazy": 0, "third": 3})
    async with serving(peer.serve) as address:
        assert await asked(address, manner(service)) == expected
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert peer.ended == ["goaway"]


async def test_what_is_asked() -> None:
    peer = HealthService({"": 1})
    async with serving(peer.serve) as address:
        await asked(address, manner("", (("X-Tenant", "a"),)))
    assert peer.requests == [
        (
            {
                b":method": b"POST",
                b":scheme": b"http",
                b":path": b"/grpc.health.v1.Health/Check",
                b":authority": b"orders",
                b"te": b"trailers",
                b"content-type": b"application/grpc",
                b"user-agent": b"meshtrio-probe",
                b"grpc-timeout": b"2000m",
                b"x-tenant": b"a",
            },
            bytes(5),
        )
    ]


async def test_a_check_that_cannot_be_sent_blames_nobody() -> None:
    peer = HealthService({"": 1})
    async with serving(peer.serve) as address:
        answer = await asked(address, manner(headers=(("te", "everything"),)))
    assert answer.finding is Finding.VOID


async def test_who_speaks_http1_fails() -> None:
    async with serving(saying(b"HTTP/1.1 400 Bad\r\n\r\n" * 9, request_end=b"PRI")) as address:
        answer = await asked(address, manner())
    assert answer.finding is Finding.FAILED
    assert answer.text.startswith("answers what is not HTTP/2: ")


async def test_who_closes_is_silent() -> None:
    async def close(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_eof()

    async with serving(close) as address:
        assert (await asked(address, manner())).finding is Finding.SILENT


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda peer: peer.reset_stream(1, 7), "resets the call: REFUSED_STREAM"),
        (lambda peer: peer.close_connection(11), "ends the connection: ENHANCE_YOUR_CALM"),
    ],
)
async def test_who_breaks_off_fails(act: object, text: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        peer = h2.connection.H2Connection(H2Configuration(client_side=False))
        peer.initiate_connection()
        while not peer.open_inbound_streams:
            peer.receive_data(await stream.receive_some())
        act(peer)  # type: ignore[operator]
        await stream.send_all(peer.data_to_send())
        while await stream.receive_some():
            pass

    async with serving(serve) as address:
        assert await asked(address, manner()) == Answer(Finding.FAILED, text)


SETTINGS = b"\0\0\0\4\0\0\0\0\0"
PING = b"\0\0\x08\6\0\0\0\0\0pingpong"


async def test_an_answer_without_end_is_bounded() -> None:
    async with serving(endless(SETTINGS, PING * 100)) as address:
        answer = await asked(address, manner())
    assert answer == Answer(Finding.FAILED, f"answers with more than {ANSWER_BYTES} bytes")


@given(
    said=st.binary(max_size=80), begins=st.sampled_from([b"", SETTINGS, SETTINGS + b"\0\0\x10\1\4\0\0\0\1"])
)
async def test_whatever_is_said_there_is_a_verdict(said: bytes, begins: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(begins + said)
        await stream.send_eof()
        while await stream.receive_some():
            pass

    async with serving(serve) as address:
        assert (await asked(address, manner())).finding in (Finding.FAILED, Finding.SILENT)


OK = {b":status": b"200", b"grpc-status": b"0"}


@pytest.mark.parametrize(
    ("fields", "body", "expected"),
    [
        (OK, b"\0\0\0\0\2\x08\1", Answer(Finding.PASSED, "SERVING")),
        (OK, b"\0\0\0\0\2\x08\7", Answer(Finding.FAILED, "status 7")),
        (OK, b"", Answer(Finding.FAILED, "answers what is no health: not one message")),
        ({b":status": b"404"}, b"", Answer(Finding.FAILED, "HTTP 404")),
        ({}, b"", Answer(Finding.FAILED, "HTTP ")),
        ({b":status": b"200"}, b"\0\0\0\0\2\x08\1", Answer(Finding.FAILED, "no grpc-status")),
        ({**OK, b"grpc-status": b"12"}, b"", Answer(Finding.FAILED, "UNIMPLEMENTED")),
        ({**OK, b"grpc-status": b"99"}, b"", Answer(Finding.FAILED, "grpc-status 99")),
        (
            {**OK, b"grpc-status": b"\xff", b"grpc-message": b"\xff"},
            b"",
            Answer(Finding.FAILED, "grpc-status �: �"),
        ),
    ],
)
def test_a_reply_is_judged_whole(fields: dict[bytes, bytes], body: bytes, expected: Answer) -> None:
    assert judged(fields, body) == expected


def framed(message: bytes) -> bytes:
    return bytes(1) + len(message).to_bytes(4, "big") + message


def test_the_request_is_one_field() -> None:
    assert request("") == framed(b"")
    assert request("a.b") == framed(b"\x0a\x03a.b")
    assert request("x" * 300) == framed(b"\x0a\xac\x02" + b"x" * 300)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"", 0),
        (b"\x08\1", 1),
        (b"\x08\x81\0", 1),
        (b"\x12\3abc\x19" + bytes(8) + b"\x25" + bytes(4) + b"\x30\1\x08\2", 2),
    ],
)
def test_fields_that_are_not_known_are_passed_over(message: bytes, status: int) -> None:
    assert serving_status(framed(message)) == status


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\1\0\0\0\2\x08\1", "compressed"),
        (b"\0\0\0\0\3\x08\1", "not one message"),
        (framed(b"\x08"), "cut off"),
        (framed(b"\x12\x09ab"), "cut off"),
        (framed(b"\x0b"), "wire type 3"),
        (framed(b"\x08" + b"\xff" * 11), "a number of more than ten bytes"),
    ],
)
def test_what_is_no_message_is_told(body: bytes, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        serving_status(body)


@given(body=st.binary(max_size=40), frame=st.booleans())
def test_any_bytes_are_a_status_or_an_error(body: bytes, frame: bool) -> None:
    with contextlib.suppress(MessageError):
        assert serving_status(framed(body) if frame else body) >= 0
