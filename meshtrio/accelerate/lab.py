"""Shell. A place to try sk_msg in: its programs loaded and attached, and TCP connections that they see.

Blocking, for a process of its own: it enters a cgroup that the caller made, and a network namespace that
nobody else has, and stays there. Everything in the kernel goes with the process. Does not know any hazard.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from meshtrio.intercept import bpf, bpf_sockets, cgroup
from meshtrio.intercept.bpf_sockets import SK_MSG, TO_SK_MSG_VERDICT
from meshtrio.intercept.netns import CLONE_NEWNET
from meshtrio.intercept.object import CompiledObject
from meshtrio.intercept.rights import memlock_raised

SOCK_OPS, TO_CGROUP_SOCK_OPS = 13, 3
"""Program type and attach type of include/uapi/linux/bpf.h."""
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1

PATIENCE_S = 2.0
"""How long a byte may take over loopback. A busy machine is not a wrong kernel."""
ENDLESS = 1 << 40
"""A credit that no trial spends."""

# bpf/accelerate.c: struct line, struct lane, and the slots of `tuning`.
_LINE_BYTES = 40
_LANE = struct.Struct("<QQQII")
_CREDIT_BYTES, _ONLY_CALLERS = 0, 1


class Lane(NamedTuple):
    """What the program says of one direction."""

    fast_bytes: int
    tcp_bytes: int
    credit_bytes: int
    latched: int


class Pair(NamedTuple):
    """Two ends of one connection."""

    client: socket.socket
    server: socket.socket


class Lab:
    """The programs, attached to this process's cgroup."""

    def __init__(self, maps: dict[str, int]) -> None:
        """Take the maps over; see `open`."""
        self._maps = maps

    @classmethod
    def open(cls, compiled: CompiledObject, group: Path) -> Self:
        """Move this process into the group and a fresh network namespace, and attach the programs there.

        OSError or CgroupError if the kernel does not let us.
        """
        memlock_raised()
        cgroup.enter(group)
        _unshare_network()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
        maps = {
            one.name: bpf.create_map(
                one.type, one.name, (one.key_bytes, one.value_bytes, one.max_entries), one.flags
            )
            for one in compiled.maps
        }
        message = bpf.load_program(
            SK_MSG, TO_SK_MSG_VERDICT, "on_message", compiled.program("on_message").linked(maps)
        )
        bpf_sockets.attach(message, maps["ends"])
        enrol = bpf.load_program(
            SOCK_OPS, TO_CGROUP_SOCK_OPS, "enrol", compiled.program("enrol").linked(maps)
        )
        folder = os.open(group, os.O_RDONLY | os.O_CLOEXEC)
        bpf.create_link(enrol, folder, TO_CGROUP_SOCK_OPS)
        return cls(maps)

    @contextlib.contextmanager
    def pair(self, host: str, credit_bytes: int, *, early: bytes = b"") -> Iterator[Pair]:
        """Connect two sockets, each direction with this credit. `early` is sent before the accept."""
        self._tune(_CREDIT_BYTES, credit_bytes)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with (
            socket.create_server((host, 0), family=family) as door,
            socket.create_connection(door.getsockname()[:2], PATIENCE_S) as client,
        ):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if early:
                client.sendall(early)
            door.settimeout(PATIENCE_S)
            server = door.accept()[0]
            with server:
                server.settimeout(PATIENCE_S)
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield Pair(client, server)

    @contextlib.contextmanager
    def only_callers(self) -> Iterator[None]:
        """Leave out sockets that accept, until `enrol`: then what is sent to them misses."""
        self._tune(_ONLY_CALLERS, 1)
        try:
            yield
        finally:
            self._tune(_ONLY_CALLERS, 0)

    def enrol(self, sock: socket.socket) -> None:
        """Enrol a socket that was left out."""
        bpf.update(self._maps["ends"], _line(sock), struct.pack("<I", sock.fileno()))

    def lane(self, sender: socket.socket) -> Lane:
        """Read what the program says of the direction that begins here."""
        raw = bpf.look_up(self._maps["lanes"], _line(sender), _LANE.size)
        return Lane(*_LANE.unpack(raw)[:4]) if raw else Lane(0, 0, 0, 0)

    def _tune(self, slot: int, value: int) -> None:
        bpf.update(self._maps["tuning"], struct.pack("<I", slot), struct.pack("<Q", value))


def take(sock: socket.socket, size: int) -> bytes:
    """Read as many bytes, or fewer if the stream ends. TimeoutError if they do not come."""
    got = bytearray()
    while len(got) < size and (more := sock.recv(size - len(got))):
        got += more
    return bytes(got)


def _unshare_network() -> None:
    # os.unshare comes with Python 3.12. This process has one thread, so all of it moves.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _line(sock: socket.socket) -> bytes:
    here, there = sock.getsockname(), sock.getpeername()
    key = b"".join(_packed(sock.family, one[0]) + struct.pack("<I", one[1]) for one in (here, there))
    assert len(key) == _LINE_BYTES
    return key


def _packed(family: int, host: str) -> bytes:
    if family == socket.AF_INET6:
        return socket.inet_pton(socket.AF_INET6, host)
    return bytes(10) + b"\xff\xff" + socket.inet_aton(host)
