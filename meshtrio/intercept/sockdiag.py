"""Shell. What the kernel's sock_diag(7) knows of a pair of addresses, and does: one question, one answer.

Is there a TCP connection between them? Asked before a dial takes the caller's address: an accidental second
connection with the same pair of addresses would end the first one. Which UDP socket hears what goes from one
to the other? Asked by our resolver. Which TCP sockets listen? How many bytes has each of these carried? And:
end this connection, as an operator says. One netlink socket a namespace; knows nothing of doors.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from meshtrio.address import Address
from meshtrio.intercept.netns import Netns

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_SOCK_DESTROY = 21
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 1, 4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_LISTEN = 10
_HEAD = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI2s2s16s16sIII")
_ERROR = struct.Struct("=i")
_ANY_COOKIE_OF_BOTH = 0xFFFF_FFFF_FFFF_FFFF
# In struct inet_diag_msg: four bytes, then struct inet_diag_sockid with two ports, two addresses, interface.
_COOKIE, _COOKIE_AT = struct.Struct("=Q"), 4 + 4 + 32 + 4
# After that, struct inet_diag_msg has four numbers and then the inode.
_INODE_AT = _COOKIE_AT + 8 + 4 * 4
_DUMP_BYTES = 64 * 1024
"""The kernel fills at most 32 KiB an answer."""


_MESSAGE_BYTES = _INODE_AT + 4
_INFO = 2
_WITH_INFO = 1 << _INFO - 1
_ATTRIBUTE = struct.Struct("=HH")
# In struct tcp_info (include/uapi/linux/tcp.h): 8 bytes, 24 words, two rates; then these two (4.1).
_BYTES, _ACKED_AT = struct.Struct("=QQ"), 8 + 24 * 4 + 2 * 8
_TOGETHER = 64
"""So many questions are asked at once: their answers, 500 bytes each, must fit into a socket's buffer."""


class Counted(NamedTuple):
    """What the kernel has counted of a TCP socket. SYN and FIN are a byte each."""

    state: int
    """Numbered as in the kernel's net/tcp_states.h."""
    acked: int
    """Sent, and known by the peer to have come."""
    received: int


class Listener(NamedTuple):
    """A TCP socket that listens."""

    ip: bytes
    """4 or 16 bytes."""
    port: int
    inode: int


LOOPBACK_INDEX = 1
"""The number of `lo` in each namespace (LOOPBACK_IFINDEX, include/net/flow.h)."""


class SockDiag:
    """A line to the kernel, inside one network namespace."""

    def __init__(self, netns: Netns) -> None:
        """Open it. OSError if the kernel has no sock_diag."""
        with netns.entered():
            self._line = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
            )
        # The kernel answers within the system call; the timeout is for a kernel that does not.
        self._line.settimeout(1)

    def connected(self, local: Address, remote: Address) -> bool:
        """Say whether a TCP socket with this local and this remote address exists, other than a listener."""
        answer = self._asked(socket.IPPROTO_TCP, local, remote)
        # The state is in the second byte.
        return answer is not None and answer[1] != _LISTEN

    def udp_cookie(self, speaker: Address, hearer: Address) -> int | None:
        """Return the cookie (SO_COOKIE) of the UDP socket that hears what comes from the speaker.

        Connected or not, also an IPv6 socket that speaks IPv4. None: there is none, or the kernel cannot tell
        (it has no udp_diag).
        """
        answer = self._asked(socket.IPPROTO_UDP, speaker, hearer)
        return None if answer is None else int(_COOKIE.unpack_from(answer, _COOKIE_AT)[0])

    def listeners(self) -> Iterator[Listener]:
        """Give all TCP sockets that listen here. OSError if the kernel cannot tell.

        Only these are looked at: /proc/net/tcp takes time by the number of all connections.
        """
        for family, address_bytes in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            nothing = bytes(16)
            body = _REQUEST.pack(
                family, socket.IPPROTO_TCP, 0, 1 << _LISTEN, b"\0\0", b"\0\0", nothing, nothing, 0, 0, 0
            )
            flags = _NLM_F_REQUEST | _NLM_F_DUMP
            self._line.send(_HEAD.pack(_HEAD.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body)
            for found in self._parts():
                ip, port = found[8 : 8 + address_bytes], int.from_bytes(found[4:6], "big")
                yield Listener(ip, port, int.from_bytes(found[_INODE_AT : _INODE_AT + 4], sys.byteorder))

    def counted(self, asked: Sequence[tuple[Address, Address, int]]) -> list[Counted | None]:
        """Say of TCP sockets, by local and remote address and cookie, what the kernel has counted by now.

        None: there is no such socket any more. OSError if the kernel cannot tell.
        """
        found: list[Counted | None] = []
        for at in range(0, len(asked), _TOGETHER):
            some = asked[at : at + _TOGETHER]
            bodies = (_request(socket.IPPROTO_TCP, one[:2], one[2], extensions=_WITH_INFO) for one in some)
            self._line.send(
                b"".join(
                    _HEAD.pack(_HEAD.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + body
                    for body in bodies
                )
            )
            # The kernel has answered all of them, in order, before it returns from sending.
            found += [_counted(self._line.recv(4096)) for _ in some]
        return found

    def _parts(self) -> Iterator[bytes]:
        """Give the bodies of an answer of many parts. OSError if it is an error."""
        while True:
            answer = self._line.recv(_DUMP_BYTES)
            at = 0
            while at + _HEAD.size <= len(answer):
                size, kind, _, _, _ = _HEAD.unpack_from(answer, at)
                body = answer[at + _HEAD.size : at + size]
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    # Both begin with 0 or a negative errno.
                    number = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                    if number:
                        raise OSError(number, os.strerror(number))
                    return
                yield body
                # Each part begins at a multiple of four.
                at += max(size + 3 & ~3, _HEAD.size)

    def destroy(self, local: Address, remote: Address, cookie: int, *, interface: int = 0) -> bool:
        """End the TCP connection whose socket has this cookie: its process gets ECONNABORTED, the peer a RST.

        False: it has ended already, or is bound to another interface than this one (0: to none).
        OSError (EOPNOTSUPP) if the kernel was built without SOCK_DESTROY.
        """
        body = _request(socket.IPPROTO_TCP, (local, remote), cookie, interface=interface)
        self._line.send(
            _HEAD.pack(_HEAD.size + len(body), _SOCK_DESTROY, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0) + body
        )
        answer = self._line.recv(4096)
        number = -int(_ERROR.unpack_from(answer, _HEAD.size)[0])
        if number not in (0, errno.ENOENT):
            raise OSError(number, os.strerror(number))
        return number == 0

    def _asked(self, protocol: int, local: Address, remote: Address) -> bytes | None:
        """Ask about one pair, and return the body of the answer. None: there is no such socket."""
        body = _request(protocol, (local, remote))
        self._line.send(_HEAD.pack(_HEAD.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body)
        answer = self._line.recv(4096)
        _, kind, _, _, _ = _HEAD.unpack_from(answer)
        # An error says that there is none (ENOENT).
        return None if kind == _NLMSG_ERROR else answer[_HEAD.size :]

    def close(self) -> None:
        """Hang up."""
        self._line.close()


def _counted(answer: bytes) -> Counted | None:
    _, kind, _, _, _ = _HEAD.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        number = -int(_ERROR.unpack_from(answer, _HEAD.size)[0])
        if number in (errno.ENOENT, errno.ESTALE):  # there is none, or the socket there is another one
            return None
        raise OSError(number, os.strerror(number))
    at = _HEAD.size + _MESSAGE_BYTES
    while at + _ATTRIBUTE.size <= len(answer):
        size, kind = _ATTRIBUTE.unpack_from(answer, at)
        if kind == _INFO and size >= _ATTRIBUTE.size + _ACKED_AT + _BYTES.size:
            acked, received = _BYTES.unpack_from(answer, at + _ATTRIBUTE.size + _ACKED_AT)
            return Counted(answer[_HEAD.size + 1], acked, received)
        at += max(size + 3 & ~3, _ATTRIBUTE.size)
    return None


def _request(
    protocol: int,
    ends: tuple[Address, Address],
    cookie: int = _ANY_COOKIE_OF_BOTH,
    *,
    extensions: int = 0,
    interface: int = 0,
) -> bytes:
    local, remote = ends
    return _REQUEST.pack(
        socket.AF_INET if local.is_v4 else socket.AF_INET6,
        protocol,
        extensions,
        0xFFFF_FFFF,
        local.port.to_bytes(2, "big"),
        remote.port.to_bytes(2, "big"),
        _words(local),
        _words(remote),
        interface,
        cookie & 0xFFFF_FFFF,
        cookie >> 32,
    )


def _words(address: Address) -> bytes:
    return address.ip[12:] + bytes(12) if address.is_v4 else address.ip
