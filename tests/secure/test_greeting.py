"""What is learnt of a caller's first words, and that nothing of them is taken."""

import socket
import ssl

import pytest

from meshtrio.detect.detected import Protocol
from meshtrio.secure.greeting import first_words, is_mesh, words_there
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
        assert words_there(other) is None
        one.send(words)
        detected = await first_words(other, 1)
        assert detected is not None
        assert words_there(other) == detected
        assert (detected.protocol, is_mesh(detected)) == (protocol, mesh)
        assert other.recv(10_000) == words
