"""World. What can happen to a line over a socket alone: chopped bytes, garbage, a cut in the middle."""

import array
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
import trio
from hypothesis import given
from trio.testing import wait_all_tasks_blocked

from meshtrio import channel
from meshtrio.channel import DESCRIPTORS, ChannelClosed, SocketChannel


class Word(msgspec.Struct, frozen=True, tag=True):
    number: int = 0
    text: str = ""


class Blob(msgspec.Struct, frozen=True, tag=True):
    raw: bytes = b""


Spoken = Word | Blob


def a_file(text: str) -> int:
    descriptor = os.memfd_create("word")
    os.write(descriptor, text.encode())
    return descriptor


@pytest.fixture
def raw_end() -> Iterator[tuple[socket.socket, SocketChannel[Any, Any]]]:
    mouth, ear = socket.socketpair()
    heard: SocketChannel[Any, Any] = SocketChannel(ear, Spoken)
    yield mouth, heard
    mouth.close()
    ear.close()
    channel.close_all(heard._descriptors)


def written(message: Spoken) -> bytes:
    return framed(msgspec.msgpack.encode(message))


Raw = tuple[socket.socket, SocketChannel[Any, Any]]


async def test_chopped_bytes_make_the_same_messages(raw_end: Raw) -> None:
    mouth, ear = raw_end

    async def chew() -> None:
        for byte in written(Word(1, "one")) + written(Blob(b"two")) + written(Word(3)):
            mouth.send(bytes([byte]))
            await wait_all_tasks_blocked()

    async with trio.open_nursery() as eating:
        eating.start_soon(chew)
        assert [(await ear.receive())[0] for _ in range(3)] == [Word(1, "one"), Blob(b"two"), Word(3)]


def framed(body: bytes, descriptors: int = 0) -> bytes:
    return struct.pack("<IB", len(body), descriptors) + body


GARBAGE = {
    "a length above the bound": struct.pack("<IB", channel.MESSAGE_BYTES + 1, 0),
    "more descriptors than may be": struct.pack("<IB", 3, DESCRIPTORS + 1),
    "no msgpack": framed(b"\xc1\xc1\xc1"),
    "an empty message": framed(b""),
    "text that is not UTF-8": framed(b"\x82\xa4type\xa4Word\xa4text\xa1\xff"),
    "too deep": framed(b"\x82\xa4type\xa4Word\xa1x" + b"\x91" * 100_000),
    "an unknown message": framed(msgspec.msgpack.encode({"type": "Lie"})),
    "bytes after a message": framed(msgspec.msgpack.encode(Word()) + bytes(20)),
    "a wrong type": framed(msgspec.msgpack.encode({"type": "Word", "number": "one"})),
    "descriptors that do not come": framed(msgspec.msgpack.encode(Word()), descriptors=1),
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_closes_the_line(raw_end: Raw, garbage: bytes) -> None:
    mouth, ear = raw_end
    async with trio.open_nursery() as speaker:
        speaker.start_soon(trio.to_thread.run_sync, lambda: mouth.sendall(garbage))
        with pytest.raises(ChannelClosed) as why, trio.fail_after(2):
            await ear.receive()
    assert "too large" in str(why.value) or "malformed" in str(why.value)
    assert mouth.recv(10) == b""
    with pytest.raises(ChannelClosed):
        await ear.receive()


async def test_a_malformed_message_loses_its_descriptors(raw_end: Raw) -> None:
    mouth, ear = raw_end
    one = a_file("x")
    rights = array.array("i", [one, one])
    mouth.sendmsg([struct.pack("<IB", 1, 1) + b"\xc1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    os.close(one)
    with pytest.raises(ChannelClosed, match="malformed"):
        await ear.receive()  # and the fixture finds nothing open


@given(garbage=st.binary(min_size=1, max_size=200))
async def test_random_bytes_end_in_a_message_or_a_closed_line(garbage: bytes) -> None:
    mouth, ear = socket.socketpair()
    with mouth:
        heard: SocketChannel[Any, Any] = SocketChannel(ear, Spoken)
        mouth.send(garbage)
        mouth.shutdown(socket.SHUT_WR)
        with pytest.raises(ChannelClosed), trio.fail_after(2):
            while True:
                await heard.receive()
        heard.close()


async def test_a_message_that_is_too_long_is_not_even_begun(
    raw_end: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    mouth, ear = raw_end
    monkeypatch.setattr(channel, "MESSAGE_BYTES", 1000)
    with pytest.raises(ValueError, match="too large"):
        await ear.send(Blob(bytes(1001)))
    await ear.send(Word(1))
    assert mouth.recv(1000) == written(Word(1))


async def test_cancelled_in_the_middle_of_a_message_the_line_is_closed(raw_end: Raw) -> None:
    """Half a message would make the rest of the line unreadable; and who waits to receive must hear of it."""
    mouth, ear = raw_end
    with trio.fail_after(2):
        async with trio.open_nursery() as both:

            async def wait() -> None:
                with pytest.raises(ChannelClosed):
                    await ear.receive()

            both.start_soon(wait)
            with trio.CancelScope() as sending:
                both.start_soon(cancel_when_blocked, sending)
                await ear.send(Blob(bytes(1 << 20)))
            assert sending.cancelled_caught
    with pytest.raises(ChannelClosed):
        await ear.send(Word())
    mouth.setblocking(False)
    while mouth.recv(1 << 20):
        pass  # what had been sent, then the end


async def test_a_descriptor_that_cannot_be_sent_closes_the_line(raw_end: Raw) -> None:
    mouth, ear = raw_end
    with pytest.raises(ChannelClosed):
        await ear.send(Word(), [-1])
    assert mouth.recv(10) == b""


async def test_a_reset_while_receiving_is_a_closed_line(raw_end: Raw) -> None:
    mouth, ear = raw_end
    await ear.send(Word())
    mouth.close()  # with unread bytes: the kernel says ECONNRESET
    with pytest.raises(ChannelClosed):
        await ear.receive()


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()
