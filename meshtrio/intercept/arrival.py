"""Shell. The worker's side of a door: accepted connections, what they had dialled, sockets for their dials.

Two rungs bring connections. eBPF: the outbound hook left what was dialled in a map, by source; inbound
connections keep their local address. nf_tables: the kernel's conntrack knows (SO_ORIGINAL_DST).
"""

import contextlib
import errno
import random
import resource
import socket
from collections.abc import Iterator
from typing import NamedTuple

from meshtrio.address import Address
from meshtrio.config.schema import Keepalive
from meshtrio.forward.tcp import arm_reset, send_unpaced, tune
from meshtrio.intercept import marks, original_dst
from meshtrio.intercept.layout import Origin
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.sockdiag import SockDiag
from meshtrio.intercept.tables import Destinations, Heartbeat, OurDials, Ports
from meshtrio.intercept.vouchers import Vouchers
from meshtrio.messages import OpenDoor
from meshtrio.observe import log

IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
FIXED_SOURCE = {socket.AF_INET: "127.0.0.6", socket.AF_INET6: "::1"}
"""What the called process sees where it cannot be shown the caller's address."""
CALLER_PORTS = (1024, 32768)
"""Source ports of dials that show the caller's address; Linux, by default, dials from 32768 upwards."""
CALLER_TRIES = 16
OTHER_DESCRIPTORS, DOOR_DESCRIPTORS = 64, 8
"""What the process needs besides connections: in all, and for each door."""


class KernelMaps(NamedTuple):
    """The maps that a worker uses; None of them on a machine without eBPF."""

    destinations: Destinations
    our_dials: OurDials
    ports: Ports
    heartbeat: Heartbeat
    vouchers: Vouchers

    @classmethod
    def of(cls, descriptors: list[int]) -> "KernelMaps":
        """Wrap the descriptors, in this order, which live as long as the worker."""
        return cls(
            Destinations(descriptors[0]),
            OurDials(descriptors[1]),
            Ports(descriptors[2]),
            Heartbeat(descriptors[3]),
            Vouchers(descriptors[4]),
        )


class Door:
    """One open door, and the network namespace behind it."""

    def __init__(self, opened: OpenDoor, descriptors: list[int], maps: KernelMaps | None) -> None:
        """Take the descriptors over: the namespace, then the listening sockets. NetnsError if it has gone."""
        self.opened = opened
        self._maps = maps
        self.listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors[1:]]
        try:
            self.netns = Netns.adopt(descriptors[0], named=f"door {opened.door}")
        except BaseException:
            for listener in self.listeners:
                listener.close()
            raise
        for listener in self.listeners:
            listener.setblocking(False)
        self.addresses = frozenset(Address.of(*listener.getsockname()[:2]) for listener in self.listeners)
        self.port = next(iter(self.addresses)).port
        self._keepalive = Keepalive()
        self._diag: SockDiag | None = None
        self.users = 0
        """Connections that still need the namespace."""

    def tune(self, keepalive: Keepalive) -> None:
        """Set the options of connections that come from now on, in both directions.

        What is accepted ends by a RST from its first moment, should we be killed before it is relayed.
        """
        self._keepalive = keepalive
        for listener in self.listeners:
            self._tune(listener, near=self.opened.direction == "outbound")
            arm_reset(listener)

    def accept(
        self, listener: socket.socket, most: int
    ) -> tuple[list[tuple[socket.socket, tuple[str, int]]], bool]:
        """Accept what waits, up to a bound. False: descriptors or memory ran out, so come back later.

        Nothing is lost then: what cannot be accepted now waits in the backlog.
        """
        accepted: list[tuple[socket.socket, tuple[str, int]]] = []
        family = listener.family if listener.fileno() >= 0 else socket.AF_UNSPEC
        for _ in range(most):
            if listener.fileno() < 0:
                break
            try:
                # What `accept` does, which asks the listener for its family and type each time: 3 of 11 us.
                descriptor, peer = listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                break
            except OSError as cause:
                if cause.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.rarely("cannot accept", why=cause.strerror)
                    return accepted, False
                continue  # ECONNABORTED and other ends of one connection
            client = socket.socket(family, socket.SOCK_STREAM, 0, descriptor)
            client.setblocking(False)
            accepted.append((client, peer[:2]))
        return accepted, True

    def origin(self, client: socket.socket, source: Address) -> Origin | None:
        """Return what this connection had dialled, and whose it is. None: it had dialled the door itself."""
        workload = self.opened.workload.id
        if self.opened.rung == "nft":
            dialled = original_dst.original_destination(client)
            return Origin(dialled, workload) if dialled else None
        assert self._maps is not None
        if self.opened.direction == "outbound":
            return self._maps.destinations.take(self.opened.netns, source, self.port)
        local = Address.of(*client.getsockname()[:2])
        if local.port == self.port:
            return None
        return Origin(local, self._maps.ports.workload(self.opened.netns, local.port) or workload)

    def has_connection(self, local: Address, remote: Address) -> bool:
        """Ask the kernel whether the namespace has such a TCP connection. OSError if it cannot say."""
        if self._diag is None:
            self._diag = SockDiag(self.netns)
        return self._diag.connected(local, remote)

    def vouch(self, source: Address, to: Address, workload: int) -> bool:
        """Note that the connection which has come into this namespace from there is this workload's.

        False, and nothing is noted, if the kernel knows no such connection here: then what was dialled is
        elsewhere, or its address was translated. Or it keeps no notes.
        """
        if self._maps is None or not self.has_connection(to, source):
            return False
        self._maps.vouchers.vouch(self.opened.netns, source, to, workload)
        return True

    def vouched(self, source: Address, to: Address) -> int | None:
        """Return the workload that one of our workers has vouched for, and forget it. None: nobody has."""
        return self._maps.vouchers.take(self.opened.netns, source, to) if self._maps else None

    def outbound_socket(self, to: Address) -> socket.socket:
        """Make a socket in the workload's namespace to dial an endpoint with."""
        sock = self.netns.socket(socket.AF_INET if to.is_v4 else socket.AF_INET6)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.marked(marks.OUTBOUND_DIAL))
            self._tune(sock, near=False)
        except BaseException:
            sock.close()
            raise
        return sock

    @contextlib.contextmanager
    def app_socket(self, to: Address, caller: Address) -> Iterator[socket.socket]:
        """Give a socket to dial the app with, which the inbound hook lets pass until this block ends.

        It has the caller's address as its own where the namespace is prepared for that. The socket is the
        user's; OSError if no source port is left or the map is full.
        """
        family = socket.AF_INET if to.is_v4 else socket.AF_INET6
        sock = self.netns.socket(family)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.marked(marks.APP_DIAL))
            self._tune(sock, near=True)
            self._bind(sock, to, caller)
            source = Address.of(*sock.getsockname()[:2])
            if self._maps is not None and self.opened.rung == "ebpf":
                self._maps.our_dials.add(self.opened.netns, source)
        except BaseException:
            sock.close()
            raise
        try:
            yield sock
        finally:
            if self._maps is not None and self.opened.rung == "ebpf":
                self._maps.our_dials.discard(self.opened.netns, source)

    def _tune(self, sock: socket.socket, *, near: bool) -> None:
        alive = self._keepalive
        tune(sock, after_s=alive.after_s, every_s=alive.every_s, probes=alive.probes)
        if near:  # who dials the outbound door, and the app, are workloads of this node
            send_unpaced(sock)

    def _bind(self, sock: socket.socket, to: Address, caller: Address) -> None:
        family = sock.family
        if self.opened.transparent and caller.is_v4 == (family == socket.AF_INET) and not caller.is_loopback:
            level, option = (
                (socket.IPPROTO_IP, IP_TRANSPARENT)
                if family == socket.AF_INET
                else (socket.IPPROTO_IPV6, IPV6_TRANSPARENT)
            )
            sock.setsockopt(level, option, 1)
            if self._bind_as(sock, to, caller):
                return
        sock.bind((FIXED_SOURCE[socket.AddressFamily(family)], 0))

    def _bind_as(self, sock: socket.socket, to: Address, caller: Address) -> bool:
        """Take the caller's address and a port of our own; False if none of a few tries is free.

        The app sees a connection from there to itself, as the door has one from the caller's own port. The
        two must never be the same pair of addresses, now or later: so the port is one below the usual
        ephemeral ranges, and the kernel is asked whether it is in use all the same.
        """
        for _ in range(CALLER_TRIES):
            port = random.randrange(*CALLER_PORTS)
            try:
                if self.has_connection(to, Address(caller.ip, port)):
                    continue
                sock.bind((caller.host, port))
            except OSError as cause:
                if cause.errno == errno.EADDRINUSE:
                    continue
                # A link-local caller needs a zone, and a multicast or odd one cannot be bound at all.
                if cause.errno in (errno.EADDRNOTAVAIL, errno.EINVAL):
                    return False
                raise
            return True
        return False

    def stop(self) -> None:
        """Accept no more. The namespace stays open for the connections that came through."""
        for listener in self.listeners:
            listener.close()
        self.listeners = []

    def close(self) -> None:
        """Let everything go."""
        self.stop()
        if self._diag is not None:
            self._diag.close()
        self.netns.close()


def room_for_more(connections: int, *, doors: int) -> int:
    """Say for how many more connections there are descriptors: each needs a second one to dial with."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(0, (limit - OTHER_DESCRIPTORS - DOOR_DESCRIPTORS * doors) // 2 - connections)
