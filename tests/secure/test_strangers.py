"""What strangers can do to the accepting side: little, and it costs little."""

import contextlib
import socket
import ssl
from pathlib import Path

import pytest
import trio

from meshtrio.secure.handshake import HandshakeError, accept_securely
from tests.forward.peers import connected
from tests.forward.tls_app import TlsApp
from tests.secure.test_handshake import context_of, reason
from tests.support.rings import CLIENT_ID, SERVER, ring, shown


async def test_a_hello_in_pieces_of_one_byte() -> None:
    one, other = connected(socket.AF_INET)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with TlsApp(one, context_of(shown(CLIENT_ID), client=True), server_side=False) as app:
        with pytest.raises(ssl.SSLWantReadError):
            app.tls.do_handshake()
        hello = app.outgoing.read()

        async def trickle() -> None:
            for byte in hello:
                await app.sock.send(bytes((byte,)))
                await trio.lowlevel.checkpoint()
            await app.handshake()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            made = await accept_securely(other, ring=ring(), workload=SERVER)
        assert reason(made) == CLIENT_ID


def long_hello(size: int) -> bytes:
    """Begin a ClientHello that says it has this many bytes, and send so many."""
    body = b"\x01" + size.to_bytes(3, "big") + b"\x03\x03" + bytes(size)
    records = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
    return b"".join(b"\x16\x03\x01" + len(one).to_bytes(2, "big") + one for one in records)


@pytest.mark.parametrize("size", [100_000, 1_000_000])
async def test_a_long_hello_is_not_waited_for(size: int) -> None:
    one, other = connected(socket.AF_INET)
    app = trio.socket.from_stdlib_socket(one)

    async def flood() -> None:
        with contextlib.suppress(OSError):
            rest = memoryview(long_hello(size))
            while rest:
                rest = rest[await app.send(rest) :]

    with app, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            with pytest.raises(HandshakeError) as why:
                await accept_securely(other, ring=ring(), workload=SERVER)
    assert why.value.reason in {"tls", "too_large"}


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01"])
async def test_who_speaks_otherwise_or_goes_is_refused(first: bytes) -> None:
    one, other = connected(socket.AF_INET)
    with one:
        if first:
            one.send(first)
        one.shutdown(socket.SHUT_WR)
        with pytest.raises(HandshakeError) as why:
            await accept_securely(other, ring=ring(), workload=SERVER)
    assert why.value.reason == ("tls" if len(first) > 5 else "eof")
    assert other.fileno() == -1


async def test_handshakes_that_are_left_cost_nothing_that_stays() -> None:
    told = ring()

    async def leave(number: int) -> None:
        one, other = connected(socket.AF_INET)
        with one, trio.move_on_after(0.2):
            if number % 2:
                one.send(long_hello(5000)[: 50 * (number % 90)])
            if number % 3 == 0:
                one.close()
            with contextlib.suppress(HandshakeError):
                await accept_securely(other, ring=told, workload=SERVER)
        assert other.fileno() == -1

    before = 0
    for turn in range(4):
        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(leave, number)
        if turn == 0:
            before = resident_kib()
    assert resident_kib() - before < 4000  # 900 more: no more than 4 KiB each, if any stayed


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4
