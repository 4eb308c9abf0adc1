"""What is learnt of a caller's first words, and that nothing of them is taken."""

import socket
import ssl
import time

import pytest
import trio

from meshtrio.detect.detected import Detected, Protocol
from meshtrio.secure.greeting import first_words, is_mesh
from tests.forward.peers import connected

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def hello(*alpn: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.example").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("words", "protocol", "mesh"),
    [
        (REQUEST, Protocol.HTTP1, False),
        (hello("meshtrio/1"), Protocol.TLS, True),
        (hello("h2", "meshtrio/1"), Protocol.TLS, True),
        (hello("h2"), Protocol.TLS, False),
        (hello(), Protocol.TLS, False),
        (b"\x00\x01\x02\x03\x04\x05\x06", Protocol.TCP, False),
    ],
)
async def test_words_are_known_and_left(words: bytes, protocol: Protocol, mesh: bool) -> None:
    one, other = connected(socket.AF_INET)
    with one, other:
        one.send(words)
        detected = await first_words(other, 1)
        assert detected is not None
        assert (detected.protocol, is_mesh(detected)) == (protocol, mesh)
        assert other.recv(10_000) == words


async def test_silence_is_no_answer() -> None:
    one, other = connected(socket.AF_INET)
    with one, other:
        began = trio.current_time()
        assert await first_words(other, 0.05) is None
        assert 0.04 < trio.current_time() - began < 0.5
        one.send(b"\x16\x03")
        assert await first_words(other, 0.05) == Detected(Protocol.TCP)
        assert other.recv(10) == b"\x16\x03"


async def test_an_end_is_an_answer() -> None:
    for said in (b"", b"\x16\x03\x01"):
        one, other = connected(socket.AF_INET)
        with one, other:
            if said:
                one.send(said)
            one.shutdown(socket.SHUT_WR)
            assert await first_words(other, 5) == Detected(Protocol.TCP)
            assert other.recv(10) == said
            assert other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


async def test_a_reset_is_an_answer() -> None:
    one, other = connected(socket.AF_INET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.close()
    with other:
        assert await first_words(other, 5) == Detected(Protocol.TCP)


async def test_bytes_one_by_one_do_not_spin() -> None:
    one, other = connected(socket.AF_INET)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    words = hello("meshtrio/1")
    with one, other:

        async def trickle() -> None:
            for byte in words:
                one.send(bytes((byte,)))
                await trio.sleep(0.002)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            burnt = time.process_time()
            detected = await first_words(other, 1)
            burnt = time.process_time() - burnt
        assert detected is not None
        assert is_mesh(detected)
        assert burnt < 0.001 * len(words)
        assert other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert other.recv(10_000) == words


async def test_cancelled_it_leaves_everything_as_it_was() -> None:
    one, other = connected(socket.AF_INET)
    with one, other:
        one.send(b"\x16\x03")
        with trio.move_on_after(0.05) as scope:
            await first_words(other, 60)
        assert scope.cancelled_caught
        assert other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert other.recv(10) == b"\x16\x03"
