"""What is said on one line, byte by byte, by an application that says what it was asked."""

import contextlib
from collections.abc import Sequence
from itertools import pairwise

import h11
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.web.conversation import HEAD_BYTES, IDLE_S, SEND_S, UNREAD_BYTES, UNREAD_S, converse
from meshtrio.web.message import Caller, Disconnected, Request, Response

GREAT = 10_000_000
Line = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


async def app(request: Request) -> Response:
    """Say what was asked; at /deaf without hearing the body."""
    body = b""
    if request.path == "/great":
        return Response(bytes(GREAT))
    if request.path == "/bad":
        return Response(b"", headers={"bad": "a\r\nb"})
    if request.path == "/none":
        return Response(b"", 204)
    if request.path != "/deaf":
        try:
            async with contextlib.aclosing(request.stream()) as pieces:
                async for piece in pieces:
                    body += piece
        except Disconnected:
            return Response(b"cut", 400)
    said = f"{request.method} {request.target} {request.headers.get('x', '')} {request.caller.host} "
    return Response(said.encode() + body)


async def said(*pieces: bytes, ends: bool = True) -> bytes:
    """Say this, and give all that is answered until the line is closed."""
    ours, theirs = trio.testing.memory_stream_pair()
    heard = bytearray()

    async def speak() -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for piece in pieces:
                await ours.send_all(piece)
            if ends:
                await ours.send_eof()

    async def hear() -> None:
        async for some in ours:
            heard.extend(some)

    async with trio.open_nursery() as both:
        both.start_soon(speak)
        both.start_soon(hear)
        await converse(theirs, app, Caller("10.0.0.9"))
    with pytest.raises(trio.ClosedResourceError):
        await theirs.receive_some(1)
    return bytes(heard)


def answers(heard: bytes, methods: Sequence[str] = ("GET",) * 9) -> list[tuple[int, bytes, bytes]]:
    """Read answers: status, body, and whether another may follow."""
    read: list[tuple[int, bytes, bytes]] = []
    at = 0
    while heard[at:]:
        line = h11.Connection(h11.CLIENT)
        line.send(h11.Request(method=methods[len(read)], target="/", headers=[("host", "x")]))
        line.send(h11.EndOfMessage())
        line.receive_data(heard[at:])
        body = b""
        while not isinstance(event := line.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA, heard[at:]
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
        read.append((head.status_code, body, dict(head.headers).get(b"connection", b"")))
        at = len(heard) - len(line.trailing_data[0])
    return read


def asked(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "host: h", *headers, "", ""]).encode() + body


TWO = asked("PUT /a", "content-length: 3", body=b"one") + asked(
    "POST /b?c", "x: y", "transfer-encoding: chunked", body=b"3\r\ntwo\r\n2\r\n!!\r\n0\r\n\r\n"
)
TWICE = [(200, b"PUT /a  10.0.0.9 one", b""), (200, b"POST /b?c y 10.0.0.9 two!!", b"")]


@given(st.sets(st.integers(1, len(TWO) - 1)))
async def test_the_answers_are_the_same_however_the_bytes_come(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(TWO)]
    pieces = [TWO[start:end] for start, end in pairwise(edges)]
    assert answers(await said(*pieces)) == TWICE


async def test_head_has_the_length_and_not_the_body() -> None:
    heard = await said(asked("HEAD /a") + asked("GET /a"))
    assert heard.count(b"content-length: 17") == 1
    assert [body for _, body, _ in answers(heard, ("HEAD", "GET"))] == [b"", b"GET /a  10.0.0.9 "]


async def test_an_answer_that_has_no_body_has_none() -> None:
    assert answers(await said(asked("GET /none"))) == [(204, b"", b"")]


async def test_who_wants_to_be_told_to_go_on_is_told() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as both:
        both.start_soon(converse, theirs, app, Caller())
        await ours.send_all(asked("PUT /a", "expect: 100-continue", "content-length: 2"))
        assert (await ours.receive_some(1000)).startswith(b"HTTP/1.1 100 ")
        await ours.send_all(b"ok")
        assert (await ours.receive_some(1000)).endswith(b" ok")
        await ours.aclose()


async def test_who_is_not_heard_out_gets_the_answer_and_no_other() -> None:
    """And can send all that it began to, and read the answer then."""
    raw = asked("PUT /deaf", f"content-length: {UNREAD_BYTES - 1000}", body=bytes(UNREAD_BYTES - 1000))
    assert answers(await said(raw + asked("GET /a"))) == [(200, b"PUT /deaf  10.0.0.9 ", b"close")]


async def test_who_sends_without_end_is_hung_up_on(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def drip() -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await ours.send_all(b"x")
                await trio.sleep(0.1)

    async with trio.open_nursery() as both:
        await ours.send_all(asked("PUT /deaf", "content-length: 9999"))
        both.start_soon(drip)
        await converse(theirs, app, Caller())
        assert trio.current_time() == pytest.approx(UNREAD_S, abs=0.2)


BAD = {
    "an endless head": (b"GET / HTTP/1.1\r\na: " + b"b" * HEAD_BYTES * 2, 431),
    "no HTTP": (b"\x16\x03\x01 \r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (asked("PUT /", "content-length: 1", "content-length: 2", body=b"ab"), 400),
    "bad chunks": (asked("PUT /", "transfer-encoding: chunked", body=b"zz\r\n"), 400),
    "an unknown coding": (asked("PUT /", "transfer-encoding: gzip", body=b"zz"), 501),
    "a body cut short": (asked("PUT /", "content-length: 9", body=b"ab"), 400),
}


@pytest.mark.parametrize(("raw", "status"), BAD.values(), ids=BAD)
async def test_what_is_no_request_is_told_so_and_ends_the_line(raw: bytes, status: int) -> None:
    ((told, _, after),) = answers(await said(raw))
    assert (told, after) == (status, b"close")


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([TWO, b"GET / HTTP/1.1\r\n", b"\r\n"]))))
async def test_any_bytes_end_in_a_closed_line_and_no_exception(pieces: list[bytes]) -> None:
    await said(*pieces)


async def test_an_answer_that_cannot_be_sent_is_a_bug_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    heard = await said(asked("GET /bad") + asked("GET /a"))
    assert [status for status, _, _ in answers(heard)] == [500, 200]
    assert "cannot be sent" in caplog.text


@pytest.mark.parametrize("first", [b"", b"GET / HT", asked("GET /a")])
async def test_who_is_silent_is_hung_up_on(first: bytes, autojump_clock: trio.testing.MockClock) -> None:
    await said(first, ends=False)
    assert trio.current_time() == IDLE_S


@pytest.mark.parametrize("cancelled", [False, True])
async def test_who_does_not_read_is_hung_up_on(
    cancelled: bool, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as both:
        both.start_soon(ours.send_all, asked("GET /great"))
        with trio.move_on_after(1 if cancelled else 100):
            await converse(theirs, app, Caller())
    assert trio.current_time() == (1 if cancelled else SEND_S)
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x")
