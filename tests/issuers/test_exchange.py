"""One request and its answer. What goes wrong on real sockets is mostly in test_remote.py."""

import ssl
from pathlib import Path

import pytest
import trio

from meshtrio.issuers.exchange import Ask, ExchangeError, Url, exchange, url_of
from tests.support.certificate import make_certificate


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("https://ca.example:8443", Url("ca.example", 8443)),
        ("https://ca.example", Url("ca.example", 15004)),
        ("https://[fd00::1]:8443", Url("fd00::1", 8443)),
        ("https://[fd00::1]", Url("fd00::1", 15004)),
        ("https://192.0.2.1:1", Url("192.0.2.1", 1)),
    ],
)
def test_addresses(address: str, url: Url) -> None:
    assert url_of(address) == url


def test_host_headers_and_what_is_printed() -> None:
    assert Url("fd00::1", 1).authority == "[fd00::1]:1"
    assert Url("a", 1).authority == "a:1"
    assert repr(Ask("GET", "/x", {"csr": "a"}, "secret")) == "Ask(GET /x)"


async def answered(tmp_path: Path, wire: bytes) -> str:
    shown = make_certificate(tmp_path)

    async def serve(stream: trio.SocketStream) -> None:
        async with trio.SSLStream(stream, shown.server(), server_side=True, https_compatible=True) as secure:
            await secure.receive_some(65_536)
            await secure.send_all(wire)

    tls = ssl.create_default_context(cafile=str(shown.cert))
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        try:
            answer = await exchange(Url("127.0.0.1", listener.socket.getsockname()[1]), tls, Ask("GET", "/"))
            told = f"{answer.status} {answer.headers.get('a')} {answer.body.decode()}"
        except ExchangeError as failed:
            told = str(failed)
        nursery.cancel_scope.cancel()
    return told


@pytest.mark.parametrize(
    ("wire", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nhi", "200 b hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "404 None "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200 None hi"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi", "200 None hi"),
    ],
    ids=["length", "continue", "chunked", "until-close"],
)
async def test_whole_answers(tmp_path: Path, wire: bytes, told: str) -> None:
    assert await answered(tmp_path, wire) == told


@pytest.mark.parametrize(
    ("wire", "told"),
    [
        (b"", "closed before an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "no CA"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no CA"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 40_000, "no CA"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"b" * 3_000_000, "longer than"),
    ],
    ids=["nothing", "torn", "ssh", "head", "body"],
)
async def test_what_is_no_answer(tmp_path: Path, wire: bytes, told: str) -> None:
    assert told in await answered(tmp_path, wire)


async def test_a_token_that_cannot_be_sent_is_not_told() -> None:
    with pytest.raises(ExchangeError) as caught:
        await exchange(Url("127.0.0.1", 1), ssl.create_default_context(), Ask("GET", "/", None, "se\ncret"))
    assert "cret" not in str(caught.value) and caught.value.__cause__ is None


async def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ExchangeError, match=r"nowhere.invalid:1 cannot be reached: \w"):
        await exchange(Url("nowhere.invalid", 1), ssl.create_default_context(), Ask("GET", "/"))
