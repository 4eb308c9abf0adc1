"""Shell. Is a table of ours there? One question to the kernel, so cheap that it can be asked all the time.

By hand, because what speaks for nft.py is a child with pyroute2, which takes a fifth of a second.
"""

import errno
import os
import socket
import struct

from meshtrio.intercept.netns import Netns

_NETLINK_NETFILTER = 12
_NFT_MSG_GETTABLE = 10 << 8 | 1
"""Of the subsystem nftables (linux/netfilter/nfnetlink.h, nf_tables.h)."""
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_NFPROTO_INET = 1
_NFTA_TABLE_NAME = 1
_HEAD = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")


def is_there(netns: Netns, table: str) -> bool:
    """Say whether a table of the inet family is there. OSError: the kernel does not say (CAP_NET_ADMIN)."""
    name = table.encode() + b"\0"
    body = _FAMILY.pack(_NFPROTO_INET, 0, 0) + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(name), _NFTA_TABLE_NAME)
    body += name + bytes(-len(name) % 4)
    with netns.entered():
        line = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    with line:
        # The kernel answers within the system call; the timeout is for a kernel that does not.
        line.settimeout(1)
        line.send(_HEAD.pack(_HEAD.size + len(body), _NFT_MSG_GETTABLE, _NLM_F_REQUEST, 1, 0) + body)
        answer = line.recv(4096)
    if _HEAD.unpack_from(answer)[1] != _NLMSG_ERROR:
        return True
    code = -int(struct.unpack_from("=i", answer, _HEAD.size)[0])
    if code == errno.ENOENT:
        return False
    raise OSError(code, os.strerror(code))
