"""A sealed end driven by hand: what it takes, what it owes, and what it says of more."""

import socket

import pytest
import trio

from meshtrio.forward.pyrecords import PIECE_BYTES
from meshtrio.forward.sealed import CIPHER_BYTES, Owing, Sealed
from tests.forward.peers import pattern
from tests.forward.tls_app import secured
from tests.support.rings import ring

pytestmark = pytest.mark.usefixtures("either_records")
RING = ring()
DATA = pattern(3_000_000)


async def ends() -> tuple[Sealed, Sealed]:
    dialling, dialled = await secured(RING)
    one, other = dialling.end, dialled.end
    all_there(one)  # the server's ticket
    for end in (one, other):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


def all_there(end: Sealed) -> bytes:
    """Read until the kernel has no more, as an eager lane does."""
    buffer, got = memoryview(bytearray(CIPHER_BYTES)), b""
    while True:
        try:
            count = end.recv_into(buffer, CIPHER_BYTES)
        except BlockingIOError:
            return got
        if not count:
            return got + b"<end>"
        got += buffer[:count]


@pytest.mark.parametrize("size", [1, 16_384, 16_385, PIECE_BYTES + 1, 200_000])
async def test_what_is_sent_arrives(size: int) -> None:
    one, other = await ends()
    assert one.send(memoryview(DATA)[:size]) == size
    assert all_there(other) == DATA[:size]
    one.close()
    other.close()


async def goes(one: Sealed) -> bool:
    """Say whether the other side's kernel takes what is owed. On a busy machine it takes a while to do so."""
    for _ in range(20):
        await trio.sleep(0.005)
        if one.flush():
            return True
    return False


@pytest.mark.parametrize("chunk_bytes", [1000, PIECE_BYTES + 1])
async def test_a_full_kernel_is_owed_and_takes_nothing_more(chunk_bytes: int) -> None:
    one, other = await ends()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = 0
    while True:
        try:
            sent += one.send(DATA[sent : sent + chunk_bytes])
        except Owing:
            sent += chunk_bytes
            if not await goes(one):
                break
    assert 0 < len(one.owed) < chunk_bytes + 2000
    owed_bytes = len(one.owed)
    with pytest.raises(BlockingIOError):
        one.send(b"more")
    with pytest.raises(Owing):
        one.send(b"")
    with pytest.raises(Owing):
        one.shutdown(socket.SHUT_WR)
    assert owed_bytes < len(one.owed) < owed_bytes + 100  # close_notify waits behind the rest
    got = all_there(other)
    while one.owed:
        one.flush()
        got += all_there(other)
    assert got == DATA[:sent] + b"<end>"  # by close_notify: no FIN has gone yet
    one.shutdown(socket.SHUT_WR)
    one.close()
    other.close()


async def test_it_says_when_the_kernel_will_not() -> None:
    one, other = await ends()
    buffer = memoryview(bytearray(CIPHER_BYTES))
    one.send(DATA[:1000])
    assert other.recv_into(buffer, CIPHER_BYTES) == 1000
    more = [other.more]
    one.send(DATA[:1000])
    one.send(DATA[:1000])
    assert other.recv_into(buffer, 1022) == 1000  # one record: the kernel has another
    more.append(other.more)
    assert other.recv_into(buffer, CIPHER_BYTES) == 1000
    one.send(DATA[:1000])
    one.shutdown(socket.SHUT_WR)
    assert other.recv_into(buffer, CIPHER_BYTES) == 1000
    more.append(other.more)
    assert other.recv_into(buffer, CIPHER_BYTES) == 0
    assert more == [False, True, True]
    one.close()
    other.close()


async def test_a_small_buffer_leaves_the_rest_of_a_record_for_the_next_read() -> None:
    one, other = await ends()
    one.send(DATA[:10_000])
    buffer, got = memoryview(bytearray(4096)), b""
    while len(got) < 10_000:
        count = other.recv_into(buffer, 4096)
        got += buffer[:count]
        assert other.more
    assert got == DATA[:10_000]
    one.close()
    other.close()


async def test_goodbye_may_be_said_with_bytes_on_their_way() -> None:
    """`unwrap` reads: if it found a whole record it would fail and lose it."""
    one, other = await ends()
    other.send(DATA[:100_000])
    buffer = memoryview(bytearray(CIPHER_BYTES))
    got = bytes(buffer[: one.recv_into(buffer, 40_000)])
    one.shutdown(socket.SHUT_WR)
    assert got + all_there(one) == DATA[:100_000]
    assert all_there(other) == b"<end>"
    other.send(DATA[:1000])
    other.shutdown(socket.SHUT_WR)
    assert all_there(one) == DATA[:1000] + b"<end>"
    one.close()
    other.close()


async def test_what_is_no_lane_s_business_is_refused() -> None:
    one, other = await ends()
    with pytest.raises(ValueError):
        one.setblocking(True)
    with pytest.raises(ValueError):
        one.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="urgent"):
        one.recv(1, socket.MSG_OOB)
    one.close()
    other.close()
