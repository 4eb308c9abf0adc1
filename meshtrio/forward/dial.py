"""Shell. Connect a socket that someone else made (with their mark, source address, network namespace).

Does not know about endpoints, retries or deadlines: the caller picks, and owns the clock.
"""

import errno
import os
import socket

import trio

from meshtrio.address import Address


class DialError(Exception):
    """The connection was not made. The text names the address and the reason."""

    def __init__(self, address: Address, code: int) -> None:
        super().__init__(f"cannot connect to {address}: {os.strerror(code)}")
        self.address = address
        self.code = code
        """The errno."""
        self.timed_out = code == errno.ETIMEDOUT
        """The kernel gave up waiting; nobody said no."""


async def dial(sock: socket.socket, address: Address) -> None:
    """Connect the non-blocking `sock` to `address`.

    If this raises, DialError or Cancelled, the socket is closed. A cancel is always heard, but when the
    answer is there at once other tasks do not get a turn.
    """
    try:
        code = await _connected(sock, address)
    except BaseException:
        sock.close()
        raise
    if code != 0:
        sock.close()
        raise DialError(address, code)


async def _connected(sock: socket.socket, address: Address) -> int:
    """Connect, and give the errno: 0 is connected."""
    if sock.family == socket.AF_INET and not address.is_v4:
        return errno.EAFNOSUPPORT
    where = _sockaddr(sock, address)
    await trio.lowlevel.checkpoint_if_cancelled()
    code = sock.connect_ex(where)
    if code == errno.EINPROGRESS:
        # On loopback and veth the handshake is often over by now; asking again costs less than parking.
        code = sock.connect_ex(where)
    if code == errno.EALREADY:
        await trio.lowlevel.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.ECONNREFUSED if code == 0 and _met_itself(sock) else code


def _sockaddr(sock: socket.socket, address: Address) -> tuple[str, int]:
    """Write the address as the socket's family wants it: an IPv6 socket reaches IPv4 by mapped addresses."""
    if sock.family == socket.AF_INET6 and address.is_v4:
        return f"::ffff:{address.host}", address.port
    return address.host, address.port


def _met_itself(sock: socket.socket) -> bool:
    """Say whether this is TCP's simultaneous open of one socket with itself.

    It happens when nobody listens on a local port of the ephemeral range and the kernel picks that very
    port as the source. Whoever dials there must hear "refused", not his own echo.
    """
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False  # reset since: whoever reads or writes first will hear of it
