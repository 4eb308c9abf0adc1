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
        await trio.lowlevel.checkpoint_if_cancelled()
    except BaseException:
        sock.close()
        raise
    if not dialled_at_once(sock, address):
        await dialled(sock, address)


def dialled_at_once(sock: socket.socket, address: Address) -> bool:
    """Begin to connect. True: it is connected. False: await `dialled`. DialError: the socket is closed.

    So who has a deadline need not arm it on loopback and veth, where the answer is often there at once.
    """
    family = sock.family  # Python makes an enum of it each time
    if family == socket.AF_INET and not address.is_v4:
        code = errno.EAFNOSUPPORT
    else:
        where = _sockaddr(family, address)
        code = sock.connect_ex(where)
        if code == errno.EINPROGRESS:
            # The handshake may be over by now; asking again costs less than parking.
            code = sock.connect_ex(where)
        if code == errno.EALREADY:
            return False
    _conclude(sock, address, code)
    return True


async def dialled(sock: socket.socket, address: Address) -> None:
    """Wait until what was begun is connected. If this raises, as `dial` does, the socket is closed."""
    try:
        await trio.lowlevel.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:
        sock.close()
        raise
    _conclude(sock, address, code)


def _conclude(sock: socket.socket, address: Address, code: int) -> None:
    """Be connected, or close and say why not."""
    if code == 0 and _met_itself(sock, address):
        code = errno.ECONNREFUSED
    if code != 0:
        sock.close()
        raise DialError(address, code)


def _sockaddr(family: int, address: Address) -> tuple[str, int]:
    """Write the address as the socket's family wants it: an IPv6 socket reaches IPv4 by mapped addresses."""
    if family == socket.AF_INET6 and address.is_v4:
        return f"::ffff:{address.host}", address.port
    return address.host, address.port


def _met_itself(sock: socket.socket, address: Address) -> bool:
    """Say whether this is TCP's simultaneous open of one socket with itself.

    It happens when nobody listens on a local port of the ephemeral range and the kernel picks that very
    port as the source. Whoever dials there must hear "refused", not his own echo.
    """
    try:
        here = sock.getsockname()
        # One call less for all but the few whose ports are the same.
        return bool(here[1] == address.port and here == sock.getpeername())
    except OSError:
        return False  # reset since: whoever reads or writes first will hear of it
