"""One GET, and every answer that a server may think of."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.address import Address
from meshtrio.catalog.probing import Answer, Finding, Manner, Target
from meshtrio.discover.probe_http import HEAD_BYTES, ask_http
from meshtrio.discover.probe_tcp import Unanswered, leave
from tests.support.probed import endless, saying, serving

MANNER = Manner("http", path="/health?full=1", host="orders")


async def asked(address: Address, manner: Manner = MANNER) -> Answer:
    sock = trio.socket.socket(trio.socket.AF_INET)
    await sock.connect((address.host, address.port))
    try:
        with trio.fail_after(5):
            return await ask_http(sock, Target(address, manner))
    except Unanswered as end:
        return end.answer
    finally:
        await leave(sock)


NO_SWITCH = "answers what is not HTTP: Received server _SWITCH_UPGRADE event without a pending proposal"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("said", "accepted", "expected"),
    [
        (OK, (), Answer(Finding.PASSED, "HTTP 200")),
        (b"HTTP/1.0 204 \r\n\r\n", (), Answer(Finding.PASSED, "HTTP 204")),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", (), Answer(Finding.PASSED, "HTTP 302")),
        (b"HTTP/1.1 404 No\r\n\r\n", (), Answer(Finding.FAILED, "HTTP 404")),
        (b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n", (), Answer(Finding.FAILED, "HTTP 503")),
        (OK, (204,), Answer(Finding.FAILED, "HTTP 200")),
        (b"HTTP/1.1 503 No\r\n\r\n", (200, 503), Answer(Finding.PASSED, "HTTP 503")),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, (), Answer(Finding.PASSED, "HTTP 200")),
        (b"HTTP/1.1 101 Go\r\nUpgrade: h2c\r\n\r\n", (), Answer(Finding.FAILED, NO_SWITCH)),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nnot all",
            (),
            Answer(Finding.PASSED, "HTTP 200"),
        ),
    ],
)
async def test_the_status_decides(said: bytes, accepted: tuple[int, ...], expected: Answer) -> None:
    manner = Manner("http", path="/", host="orders", status=accepted)
    async with serving(saying(said)) as address:
        assert await asked(address, manner) == expected


async def test_what_is_asked() -> None:
    heard: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        heard.append(await stream.receive_some())
        await stream.send_all(OK)

    headers = (("Accept", "text/plain"), ("X-Probe", "ü"))
    async with serving(serve) as address:
        await asked(address)
        await asked(address, Manner("http", path="/", host="orders", headers=headers))
    lines = [sorted(one.decode().lower().split("\r\n")) for one in heard]
    own = ["host: orders", "user-agent: meshtrio-probe"]
    assert lines[0] == ["", "", "accept: */*", "connection: close", "get /health?full=1 http/1.1", *own]
    assert lines[1] == [
        "",
        "",
        "accept: text/plain",
        "connection: close",
        "get / http/1.1",
        *own,
        "x-probe: ü",
    ]


@pytest.mark.parametrize("headers", [(("no good", "x"),), (("x", "a\nb"),), (("content-length", "5"),)])
async def test_a_check_that_cannot_be_sent_blames_nobody(headers: tuple[tuple[str, str], ...]) -> None:
    async with serving(saying(OK)) as address:
        answer = await asked(address, Manner("http", path="/", host="orders", headers=headers))
    assert answer.finding is Finding.VOID
    assert answer.text.startswith("the check is no HTTP request: ")


@pytest.mark.parametrize(
    "said",
    [b"\x16\x03\x01\x02\x00" * 10, b"220 mail ESMTP\r\n\r\n", b"HTTP/1.1 two hundred\r\n\r\n", b"\0" * 99],
)
async def test_garbage_is_no_answer(said: bytes) -> None:
    async with serving(saying(said, b"\r\n\r\n")) as address:
        answer = await asked(address)
    assert answer.finding is Finding.FAILED
    assert answer.text.startswith("answers what is not HTTP: ")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nServ"])
async def test_a_connection_that_ends_before_the_head_is_silence(said: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(said)

    async with serving(serve) as address:
        assert await asked(address) == Answer(Finding.SILENT, "closed before an answer")


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Again: and again\r\n" * 500),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    ],
)
async def test_a_head_without_end_is_bounded(first: bytes, again: bytes) -> None:
    async with serving(endless(first, again)) as address:
        answer = await asked(address)
    assert answer.finding is Finding.FAILED
    assert answer.text in (
        f"answers with a head of more than {HEAD_BYTES} bytes",
        "answers what is not HTTP: Receive buffer too long",
    )


async def test_a_body_without_end_does_not_matter() -> None:
    async with serving(endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536)) as address:
        assert await asked(address) == Answer(Finding.PASSED, "HTTP 200")


@given(said=st.binary(max_size=60), begins=st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n"]))
async def test_whatever_is_said_there_is_a_verdict(said: bytes, begins: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(begins + said)

    async with serving(serve) as address:
        assert (await asked(address)).finding in (Finding.PASSED, Finding.FAILED, Finding.SILENT)
