"""Shell. The demo's wire: two network namespaces, a cable between them, and what goes over it, each byte.

The only way from one side to the other is the cable, so who has read it has read everything. Does not know
who talks over it, nor what that means.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

from meshtrio.cli.complaint import Complaint
from meshtrio.intercept.netns import Netns, NetnsError

LEFT, RIGHT = "192.0.2.1", "192.0.2.2"
"""Addresses for documentation, at either end."""
DEVICE = "wire"
ROOM_BYTES = 64 << 20
"""How much the kernel keeps for us until we read it. Full: frames are lost, and `Capture.lost` says so."""

_ALL = 3  # ETH_P_ALL, linux/if_ether.h
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/if_packet.h
_FRAME_BYTES = 1 << 17
"""More than a frame on a cable of this kind has: 64 KiB, when the kernel cuts it up later."""
_LISTENS = "0A"  # TCP_LISTEN, as in /proc/net/tcp


class Wire:
    """Both sides, and the tap on the left one."""

    def __init__(self, left: Netns, right: Netns, tap: socket.socket) -> None:
        self._left, self._right, self._tap = left, right, tap
        self.frames = 0
        self.lost = 0
        """How many frames passed of which we know nothing."""
        self._seen = bytearray()

    @property
    def left(self) -> str:
        """The path of the left namespace, for as long as this process lives."""
        return _path(self._left)

    @property
    def right(self) -> str:
        """The path of the right one."""
        return _path(self._right)

    def seen(self) -> bytes:
        """Return everything that went over the cable so far, in both directions."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._seen += self._tap.recv(_FRAME_BYTES)
                self.frames += 1
        # The kernel counts from one question to the next.
        _, lost = struct.unpack("II", self._tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self.lost += lost
        return bytes(self._seen)

    def listens(self, port: int) -> bool:
        """Say whether somebody listens on this TCP port of the right side's own address."""
        host = int.from_bytes(socket.inet_aton(RIGHT), "little")
        with self._right.entered(), open("/proc/thread-self/net/tcp", "rb") as table:
            rows = [line.split() for line in table.read().decode().splitlines()[1:]]
        return [f"{host:08X}:{port:04X}", _LISTENS] in [[row[1], row[3]] for row in rows]


@contextlib.contextmanager
def wired() -> Iterator[Wire]:
    """Lay the cable, and tap it. Complaint if it cannot be laid here. Takes half a second: not for a loop.

    Afterwards nothing of it is left, once the processes in it have ended.
    """
    with contextlib.ExitStack() as undo:
        try:
            left, right = Netns.fresh(), Netns.fresh()
            undo.callback(left.close)
            undo.callback(right.close)
            _lay(left, right)
            with left.entered():
                tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            undo.callback(tap.close)
            tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM_BYTES)
            tap.bind((DEVICE, _ALL))
        except (OSError, NetnsError) as cause:
            raise Complaint(f"no cable between two network namespaces: {cause}") from cause
        yield Wire(left, right, tap)


def _lay(left: Netns, right: Netns) -> None:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with left.entered(), IPRoute() as kernel:
            peer = {"ifname": DEVICE, "net_ns_fd": right.descriptor}
            kernel.link("add", ifname=DEVICE, kind="veth", peer=peer)
        for side, own, other in ((left, LEFT, RIGHT), (right, RIGHT, LEFT)):
            with side.entered(), IPRoute() as kernel:
                _bring_up(kernel, own, other)
    except NetlinkError as refused:
        raise OSError(refused.code, os.strerror(refused.code)) from refused


def _bring_up(kernel: Any, own: str, other: str) -> None:
    """Bring one side up. A pod has a default route, too: who dials a virtual address must get that far."""
    lo, device = kernel.link_lookup(ifname="lo")[0], kernel.link_lookup(ifname=DEVICE)[0]
    kernel.link("set", index=lo, state="up")
    kernel.link("set", index=device, state="up")
    kernel.addr("add", index=device, address=own, prefixlen=24)
    kernel.route("add", dst="0.0.0.0/0", gateway=other)


def _path(netns: Netns) -> str:
    return f"/proc/{os.getpid()}/fd/{netns.descriptor}"
