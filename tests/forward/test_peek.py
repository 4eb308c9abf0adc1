"""What is read of a client's first bytes, and that nothing of them is taken."""

import socket
import time

import trio

from meshtrio.detect.detected import Detected, Protocol
from meshtrio.detect.detector import Detector
from meshtrio.detect.requestkey import RequestKey
from meshtrio.forward.peek import glance, peek
from tests.forward.peers import connected
from tests.support.hellos import real_hello


async def test_any_reader_is_asked() -> None:
    one, other = connected(socket.AF_INET)
    with one, other:
        words = b"GET / HTTP/1.1\r\nCookie: id=7\r\n\r\nbody"
        one.send(words)
        assert await peek(other, RequestKey("cookie:id"), 1) == b"7"
        assert other.recv(10_000) == words


async def test_silence_is_no_answer() -> None:
    one, other = connected(socket.AF_INET)
    with one, other:
        began = trio.current_time()
        assert await peek(other, Detector(), 0.05) is None
        assert 0.04 < trio.current_time() - began < 5
        one.send(b"\x16\x03")
        assert await peek(other, Detector(), 0.05) == Detected(Protocol.TCP)
        assert other.recv(10) == b"\x16\x03"


async def test_an_end_is_an_answer() -> None:
    for said in (b"", b"\x16\x03\x01"):
        one, other = connected(socket.AF_INET)
        with one, other:
            if said:
                one.send(said)
            one.shutdown(socket.SHUT_WR)
            assert await peek(other, Detector(), 5) == Detected(Protocol.TCP)
            assert other.recv(10) == said
            assert other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


async def test_a_reset_is_an_answer() -> None:
    one, other = connected(socket.AF_INET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.close()
    with other:
        assert await peek(other, Detector(), 5) == Detected(Protocol.TCP)


async def test_bytes_one_by_one_do_not_spin() -> None:
    one, other = connected(socket.AF_INET)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    words = real_hello()
    with one, other:

        async def trickle() -> None:
            for byte in words:
                one.send(bytes((byte,)))
                await trio.sleep(0.002)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            burnt = time.process_time()
            detected = await peek(other, Detector(), 1)
            burnt = time.process_time() - burnt
        assert detected is not None
        assert burnt < 0.001 * len(words)
        assert other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert other.recv(10_000) == words


async def test_cancelled_it_leaves_everything_as_it_was() -> None:
    one, other = connected(socket.AF_INET)
    with one, other:
        one.send(b"\x16\x03")
        with trio.move_on_after(0.05) as scope:
            await peek(other, Detector(), 60)
        assert scope.cancelled_caught
        assert other.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert other.recv(10) == b"\x16\x03"


async def test_a_glance_tells_what_is_there_and_takes_nothing() -> None:
    one, other = connected(socket.AF_INET)
    with one, other:
        assert glance(other, Detector()) is None
        words = real_hello()
        one.send(words[:20])
        await trio.lowlevel.wait_readable(other)
        assert glance(other, Detector()) is None
        one.send(words[20:])
        with trio.fail_after(5):
            while (seen := glance(other, Detector())) is None:
                await trio.sleep(0.001)
        assert seen.protocol is Protocol.TLS
        assert other.recv(10_000) == words
        one.shutdown(socket.SHUT_WR)
        await trio.lowlevel.wait_readable(other)
        assert glance(other, Detector()) is None


async def test_a_glance_at_what_has_gone_is_no_answer() -> None:
    one, other = connected(socket.AF_INET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.close()
    with other:
        assert glance(other, Detector()) is None
