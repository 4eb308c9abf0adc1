"""Shell. What a redirected datagram was sent to, from conntrack: one question by ctnetlink, one answer.

SO_ORIGINAL_DST answers for TCP alone. One netlink socket a namespace, made without pyroute2, for the agent
asks for each query; knows nothing of who redirects or why.
"""

import socket
import struct

from meshtrio.address import V4_PREFIX, Address
from meshtrio.intercept.netns import Netns

_NETLINK_NETFILTER = 12
_CT_GET = 1 << 8 | 1
"""NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_GET of linux/netfilter/nfnetlink*.h."""
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_HEAD = struct.Struct("=IHHII")
_GENERAL = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
# enum ctattr_type, ctattr_tuple, ctattr_ip and ctattr_l4proto of linux/netfilter/nfnetlink_conntrack.h.
_TUPLE_ORIGINAL, _TUPLE_REPLY = 1, 2
_IP, _PROTOCOL = 1, 2
_V4_SOURCE, _V4_DESTINATION, _V6_SOURCE, _V6_DESTINATION = 1, 2, 3, 4
_PROTOCOL_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3


class Conntrack:
    """A line to the kernel's connection tracking, inside one network namespace."""

    def __init__(self, netns: Netns) -> None:
        """Open it. OSError if the kernel has no netfilter netlink."""
        with netns.entered():
            self._line = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
            )
        # The kernel answers within the system call; the timeout is for a kernel that does not.
        self._line.settimeout(1)

    def sent_to(self, source: Address, here: Address) -> Address | None:
        """Return where a datagram was sent that came from the source to this address of ours.

        None: nobody redirected it, or the kernel does not know. OSError if it refuses to say (no
        CAP_NET_ADMIN).
        """
        self._line.send(_question(source, here))
        answer = self._line.recv(8192)
        _, kind, _, _, _ = _HEAD.unpack_from(answer)
        if kind == _NLMSG_ERROR:
            return None
        sent_to = _destination(answer[_HEAD.size + _GENERAL.size :])
        return None if sent_to == here else sent_to

    def close(self) -> None:
        """Hang up."""
        self._line.close()


def _question(source: Address, here: Address) -> bytes:
    # The tuple of the reply: from us to the source, as translated addresses say it.
    if here.is_v4:
        family, addresses = socket.AF_INET, ((_V4_SOURCE, here.ip[12:]), (_V4_DESTINATION, source.ip[12:]))
    else:
        family, addresses = socket.AF_INET6, ((_V6_SOURCE, here.ip), (_V6_DESTINATION, source.ip))
    ports = (
        (_PROTOCOL_NUMBER, bytes([socket.IPPROTO_UDP])),
        (_SOURCE_PORT, here.port.to_bytes(2, "big")),
        (_DESTINATION_PORT, source.port.to_bytes(2, "big")),
    )
    reply = _nest(_IP, addresses) + _nest(_PROTOCOL, ports)
    body = _GENERAL.pack(family, 0, 0) + _attribute(_TUPLE_REPLY | _NESTED, reply)
    return _HEAD.pack(_HEAD.size + len(body), _CT_GET, _NLM_F_REQUEST, 1, 0) + body


def _destination(raw: bytes) -> Address | None:
    original = _attributes(_attributes(raw).get(_TUPLE_ORIGINAL, b""))
    addresses, protocol = _attributes(original.get(_IP, b"")), _attributes(original.get(_PROTOCOL, b""))
    port = int.from_bytes(protocol.get(_DESTINATION_PORT, b""), "big")
    if _V4_DESTINATION in addresses:
        return Address(V4_PREFIX + addresses[_V4_DESTINATION], port)
    if _V6_DESTINATION in addresses:
        return Address(addresses[_V6_DESTINATION], port)
    return None


def _nest(kind: int, attributes: tuple[tuple[int, bytes], ...]) -> bytes:
    return _attribute(kind | _NESTED, b"".join(_attribute(*one) for one in attributes))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(raw: bytes) -> dict[int, bytes]:
    """Read attributes by type. What is cut off in the middle is left out."""
    found = {}
    while len(raw) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(raw)
        if not _ATTRIBUTE.size <= length <= len(raw):
            break
        found[kind & _TYPE_MASK] = raw[_ATTRIBUTE.size : length]
        raw = raw[(length + 3) & ~3 :]
    return found
