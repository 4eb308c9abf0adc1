"""Dialling: each way it can go, and that a socket is never left open."""

import errno
import socket

import pytest
import trio

from meshtrio.address import Address
from meshtrio.forward.dial import DialError, dial
from tests.forward.peers import LOOPBACK

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


def fresh(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def listening(family: int, backlog: int = 8) -> tuple[socket.socket, Address]:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind((LOOPBACK[socket.AddressFamily(family)], 0))
    listener.listen(backlog)
    return listener, Address.of(*listener.getsockname()[:2])


@FAMILIES
async def test_connects(family: int) -> None:
    listener, address = listening(family)
    with listener, fresh(family) as sock:
        await dial(sock, address)
        peer, _ = listener.accept()
        with peer:
            assert sock.getpeername()[:2] == (address.host, address.port)


async def test_v6_socket_reaches_v4() -> None:
    listener, address = listening(socket.AF_INET)
    with listener, fresh(socket.AF_INET6) as sock:
        await dial(sock, address)
        assert sock.getpeername()[0] == "::ffff:127.0.0.1"


@FAMILIES
async def test_refused(family: int) -> None:
    listener, address = listening(family)
    listener.close()
    sock = fresh(family)
    with pytest.raises(DialError, match="Connection refused") as caught:
        await dial(sock, address)
    assert str(address) in str(caught.value)
    assert (caught.value.code, caught.value.timed_out) == (errno.ECONNREFUSED, False)
    assert sock.fileno() == -1


@pytest.mark.parametrize(
    ("family", "host", "code"),
    [
        (socket.AF_INET, "255.255.255.255", errno.ENETUNREACH),
        (socket.AF_INET, "fd00::1", errno.EAFNOSUPPORT),
        (socket.AF_INET6, "fe80::1", errno.EINVAL),  # link-local without a zone
    ],
)
async def test_impossible_at_once(family: int, host: str, code: int) -> None:
    sock = fresh(family)
    with pytest.raises(DialError) as caught:
        await dial(sock, Address.of(host, 80))
    assert caught.value.code == code
    assert sock.fileno() == -1


@pytest.mark.parametrize("kernel_gives_up", [True, False])
async def test_silence(kernel_gives_up: bool) -> None:
    """A full accept queue answers nothing: the caller's clock ends that, or the kernel's."""
    listener, address = listening(socket.AF_INET, backlog=0)
    with listener, fresh(socket.AF_INET) as first:
        await dial(first, address)
        sock = fresh(socket.AF_INET)
        if kernel_gives_up:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1)
            with pytest.raises(DialError) as caught, trio.fail_after(10):
                await dial(sock, address)
            assert caught.value.timed_out
        else:
            with pytest.raises(trio.TooSlowError), trio.fail_after(0.1):
                await dial(sock, address)
        assert sock.fileno() == -1


async def test_meeting_oneself_is_refused() -> None:
    """A socket bound to the very port that it dials connects to itself, if nobody listens there."""
    sock = fresh(socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    with pytest.raises(DialError, match="refused"):
        await dial(sock, Address.of(*sock.getsockname()))
    assert sock.fileno() == -1


async def test_cancelled_before_it_began() -> None:
    listener, address = listening(socket.AF_INET)
    sock = fresh(socket.AF_INET)
    with listener, trio.CancelScope() as scope:
        scope.cancel()
        await dial(sock, address)
    assert scope.cancelled_caught
    assert sock.fileno() == -1
