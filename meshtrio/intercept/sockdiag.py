"""Shell. Is there a TCP connection between these two addresses? One question to the kernel's sock_diag(7).

Asked before a dial takes the caller's address: an accidental second connection with the same pair of
addresses would end the first one. One netlink socket a namespace; knows nothing of doors.
"""

import socket
import struct

from meshtrio.address import Address
from meshtrio.intercept.netns import Netns

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_LISTEN = 10
_HEAD = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI2s2s16s16sIII")
_ANY_COOKIE = 0xFFFF_FFFF


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
        family = socket.AF_INET if local.is_v4 else socket.AF_INET6
        body = _REQUEST.pack(
            family,
            socket.IPPROTO_TCP,
            0,
            0xFFFF_FFFF,
            local.port.to_bytes(2, "big"),
            remote.port.to_bytes(2, "big"),
            _words(local),
            _words(remote),
            0,
            _ANY_COOKIE,
            _ANY_COOKIE,
        )
        self._line.send(_HEAD.pack(_HEAD.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body)
        answer = self._line.recv(4096)
        _, kind, _, _, _ = _HEAD.unpack_from(answer)
        # An error says that there is none (ENOENT); an answer has the state in its second byte.
        return kind != _NLMSG_ERROR and answer[_HEAD.size + 1] != _LISTEN

    def close(self) -> None:
        """Hang up."""
        self._line.close()


def _words(address: Address) -> bytes:
    return address.ip[12:] + bytes(12) if address.is_v4 else address.ip
