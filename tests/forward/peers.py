"""Shell. Real TCP peers for the tests of `forward`: pairs, what an end looks like, how to abort."""

import fcntl
import random
import select
import socket
import struct
import termios
from typing import NamedTuple

import trio

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FIN, RESET = "fin", "reset"


class Pair(NamedTuple):
    """One TCP connection: an application's end, and the end that the relay gets."""

    app: trio.socket.SocketType
    ours: socket.socket


def connected(family: int) -> tuple[socket.socket, socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((LOOPBACK[socket.AddressFamily(family)], 0))
        listener.listen(1)
        one = socket.create_connection(listener.getsockname()[:2])
        other, _ = listener.accept()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def pair(family: int) -> Pair:
    one, other = connected(family)
    return Pair(trio.socket.from_stdlib_socket(one), other)


def direct(family: int) -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    one, other = connected(family)
    return trio.socket.from_stdlib_socket(one), trio.socket.from_stdlib_socket(other)


def abort(sock: trio.socket.SocketType) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def until_acked(sock: trio.socket.SocketType) -> None:
    """Wait until the other kernel has it all, or will never have it."""
    tcp_close = 7
    while fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)) != bytes(4):
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == tcp_close:
            return
        await trio.sleep(0.001)


def congestion_control(sock: socket.socket) -> bytes:
    """Name what decides how fast the socket sends."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def at_mark(sock: trio.socket.SocketType) -> bool:
    siocatmark = 0x8905
    return fcntl.ioctl(sock.fileno(), siocatmark, bytes(4)) != bytes(4)


async def write(sock: trio.socket.SocketType, data: bytes) -> None:
    """Send all. OSError if the peer is gone."""
    rest = memoryview(data)
    while rest:
        rest = rest[await sock.send(rest) :]


async def pour(sock: trio.socket.SocketType, data: bytes) -> int:
    """Send until nothing has gone for a while; say how many bytes went."""
    gone = 0
    while gone < len(data):
        with trio.move_on_after(0.1) as scope:
            gone += await sock.send(data[gone : gone + 65536])
        if scope.cancelled_caught:
            break
    return gone


async def read(sock: trio.socket.SocketType, *, piece: int = 65536, pause_s: float = 0) -> tuple[bytes, str]:
    """Read to the end, whichever it is."""
    got = bytearray()
    while True:
        try:
            data = await sock.recv(piece)
        except OSError:
            return bytes(got), RESET
        if not data:
            return bytes(got), FIN
        got += data
        if pause_s:
            await trio.sleep(pause_s)


async def sees_error(sock: trio.socket.SocketType, *, within_s: float = 3) -> bool:
    """Say whether poll shows a dead connection within the time, without reading or writing."""
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    with trio.move_on_after(within_s):
        while True:
            if poll.poll(0):
                return True
            await trio.sleep(0.005)
    return False


def pattern(size: int, seed: int = 1) -> bytes:
    """Give bytes in which every lost, doubled or swapped block shows."""
    return random.Random(seed).randbytes(size)
