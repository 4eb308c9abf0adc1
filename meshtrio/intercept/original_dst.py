"""Shell. What a redirected connection was dialled as, from conntrack. Does not know who redirected it."""

import errno
import socket
import struct

from meshtrio.address import V4_PREFIX, Address

SO_ORIGINAL_DST = 80
"""The same number for both families (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h)."""

_SOL_IPV6 = 41
# conntrack has no entry, is not there, is not loaded; or the peer is gone already.
_NO_ENTRY = (errno.ENOENT, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.ENOTCONN, errno.EINVAL)


def original_destination(sock: socket.socket) -> Address | None:
    """Return what the peer of an accepted TCP socket dialled, or None if it dialled this socket itself.

    Works on IPv4 sockets, IPv6 sockets, and IPv4 connections on IPv6 sockets. None also if conntrack knows
    nothing of the connection. OSError for what is no connected socket at all.
    """
    here = _address(sock)
    try:
        dialled = _dialled_v4(sock) if here.is_v4 else _dialled_v6(sock)
    except OSError as error:
        if error.errno in _NO_ENTRY:
            return None
        raise
    return None if dialled == here else dialled


def _address(sock: socket.socket) -> Address:
    name = sock.getsockname()
    return Address.of(name[0], name[1])


def _dialled_v4(sock: socket.socket) -> Address:
    # struct sockaddr_in. An IPv6 socket with an IPv4 connection answers at this level too.
    raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, ip = struct.unpack_from("!2xH4s", raw)
    return Address(V4_PREFIX + ip, port)


def _dialled_v6(sock: socket.socket) -> Address:
    # struct sockaddr_in6: family, port, flow label, address, scope.
    raw = sock.getsockopt(_SOL_IPV6, SO_ORIGINAL_DST, 28)
    port, ip = struct.unpack_from("!2xH4x16s", raw)
    return Address(ip, port)
