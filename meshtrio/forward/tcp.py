"""Shell. What we ask of the kernel about one TCP socket: its options, its queues, and how it is closed.

Does not know about pairs of sockets, nor about trio.
"""

import fcntl
import socket
import struct
import sys
import termios
from typing import Protocol

KEEPALIVE_IDLE_S = 60
KEEPALIVE_EVERY_S = 15
KEEPALIVE_PROBES = 4
"""A peer that vanished without a word is noticed after 60 + 4 * 15 seconds: before NAT tables forget it."""

_LINGER_ZERO = struct.pack("ii", 1, 0)
_LINGER_OFF = struct.pack("ii", 0, 0)
_SIOCATMARK = 0x8905  # linux/sockios.h
_RECEIVED_AT = 128  # tcpi_bytes_received in struct tcp_info, linux/tcp.h
_INT = bytes(4)


class TcpEnd(Protocol):
    """A TCP socket, or what encrypts over one."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None: ...


def tune(
    sock: socket.socket,
    *,
    after_s: int = KEEPALIVE_IDLE_S,
    every_s: int = KEEPALIVE_EVERY_S,
    probes: int = KEEPALIVE_PROBES,
) -> None:
    """Send small writes at once (TCP_NODELAY) and notice vanished peers (keepalive; `after_s` 0: never).

    Sockets that a listening socket accepts inherit all of this from it.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, after_s > 0)
    if after_s > 0:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, after_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)


def send_unpaced(sock: socket.socket) -> None:
    """Send to the other end, which is on this machine, as fast as it reads, whatever the system's default is.

    A congestion control that paces (BBR) protects no wire there, and costs a timer and a wake-up for each
    64 KiB or less. Reno, which every kernel has and everybody may set (tcp(7)), paces nothing. As `tune`,
    what a listening socket accepts inherits it.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


def arm_reset(sock: TcpEnd) -> None:
    """Make every later close a RST, also the one that the kernel does for a killed process.

    So a peer never takes a crash of ours for a clean end of the stream.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)


def close_cleanly(sock: TcpEnd) -> None:
    """Close so that the kernel still delivers what is queued, and then FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    sock.close()


def close_with_reset(sock: TcpEnd) -> None:
    """Close with a RST; what is queued is thrown away. Harmless on a closed socket."""
    if sock.fileno() >= 0:
        arm_reset(sock)
        sock.close()


def unacked_bytes(sock: TcpEnd) -> int:
    """Count what the peer's kernel has not acknowledged yet; a FIN counts as one."""
    return _asked(sock, termios.TIOCOUTQ)  # SIOCOUTQ has the same number, see tcp(7)


def has_heard_end(sock: socket.socket, read_bytes: int) -> bool:
    """Say whether the peer's FIN has come, also if a RST came after it; `read_bytes` were read of it so far.

    A FIN counts as a byte that was received (tcpi_bytes_received, Linux 4.1), and as none that can be read.
    """
    facts = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + 8)
    (received,) = struct.unpack_from("=Q", facts, _RECEIVED_AT)
    # Else nothing from an urgent byte on is counted as readable.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    readable = _asked(sock, termios.FIONREAD)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 0)
    return bool(received == read_bytes + readable + 1)


def is_at_mark(sock: TcpEnd) -> bool:
    """Say whether the next byte to read is the urgent one (sockatmark(3))."""
    return _asked(sock, _SIOCATMARK) != 0


def _asked(sock: TcpEnd, request: int) -> int:
    return int.from_bytes(fcntl.ioctl(sock, request, _INT), sys.byteorder)
