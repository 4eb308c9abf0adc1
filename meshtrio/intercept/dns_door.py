"""Shell. The door for queries: sockets inside a workload's network namespace to which its DNS is sent.

Opens, says which resolver was meant, and gives sockets to ask it with. Knows no name and no answer: who
serves the door reads the queries and writes the answers on these sockets.

The agent serves it, not the workers, so nobody else holds these sockets, and SO_REUSEPORT is not set: a
port that is taken is taken.
"""

import contextlib
import errno
import socket
from collections.abc import Sequence

from meshtrio.address import Address
from meshtrio.intercept import marks
from meshtrio.intercept.asked import Meant
from meshtrio.intercept.doors import BACKLOG, DoorError, claimed, why_not
from meshtrio.intercept.netns import Netns

Socket = socket.socket
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
RECEIVE_BYTES = 1 << 20
"""What waits to be read, about 800 queries. Full: the kernel drops, and who asked asks again in seconds."""
TRIES = 16
_SO_RCVBUFFORCE = 33


class DnsDoor:
    """An open door for one workload's queries, by UDP and TCP, on loopback of both families."""

    def __init__(self, netns: Netns, port: int, *, any_port: bool = False) -> None:
        """Open it. DoorError if the port is taken and no other may be had (`any_port`).

        `serves` says the rest, before it is shown to anybody.
        """
        self._netns = netns
        self._claim = claimed(netns, port) if port and not any_port else None
        self._meant: Meant | None = None
        self.workload = ""
        self.workload_namespace = "default"
        self.udp: Sequence[Socket] = ()
        self.tcp: Sequence[Socket] = ()
        self._here: dict[bool, Address] = {}
        try:
            self.port = self._open(port, any_port=any_port)
        except BaseException:
            self.close()
            raise

    def serves(self, workload: str, meant: Meant, *, namespace: str = "default") -> None:
        """Say whose door this is, and take over who knows which resolvers are meant."""
        self.workload, self.workload_namespace, self._meant = workload, namespace, meant

    def has(self, family: int) -> bool:
        """Say whether queries of this family can come here."""
        return any(door.family == family for door in self.udp)

    def resolver_of(self, source: Address, *, tcp: socket.socket | None = None) -> Address | None:
        """Return the resolver that was meant: by the datagram from this source, or the accepted connection.

        None: nobody knows, or it came here without being sent by us. Ask once for each datagram, before
        anything is awaited, and once for each connection: what is known of it is then forgotten.
        """
        if self._meant is None:
            return None
        if tcp is not None:
            return self._meant.by_connection(tcp, source)
        here = self._here.get(source.is_v4)
        return self._meant.by_datagram(source, here) if here else None

    def socket(self, kind: int, family: int) -> Socket:
        """Make a non-blocking socket in the workload's namespace which is never caught, to ask with."""
        made = self._netns.socket(family, kind)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.marked(marks.OUTBOUND_DIAL))
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """Let everything go. Twice is fine."""
        for door in (*self.udp, *self.tcp, *([self._claim] if self._claim else [])):
            door.close()
        self.udp, self.tcp, self._claim = (), (), None
        if self._meant is not None:
            self._meant.close()
            self._meant = None

    def _open(self, port: int, *, any_port: bool) -> int:
        for _ in range(TRIES):
            try:
                return self._bind(port)
            except OSError as cause:
                if cause.errno != errno.EADDRINUSE or (port and not any_port):
                    raise DoorError(why_not(cause, port, what="queries")) from cause
                port = 0
        raise DoorError("no port is free for queries by UDP and TCP, on both IPv4 and IPv6")

    def _bind(self, port: int) -> int:
        """Bind all sockets to one port, or none."""
        with contextlib.ExitStack() as undo:
            udp: list[Socket] = []
            tcp: list[Socket] = []
            for family, host in LOOPBACK.items():
                for kind, doors in ((socket.SOCK_STREAM, tcp), (socket.SOCK_DGRAM, udp)):
                    door = self._bound(kind, family, (host, port))
                    if door is not None:
                        undo.callback(door.close)
                        doors.append(door)
                        port = door.getsockname()[1]
            for door in tcp:
                door.listen(BACKLOG)
            here = [Address.of(*door.getsockname()[:2]) for door in udp]
            self.udp, self.tcp, self._here = udp, tcp, {one.is_v4: one for one in here}
            undo.pop_all()
        return port

    def _bound(self, kind: int, family: int, name: tuple[str, int]) -> Socket | None:
        """Bind one socket. None: the namespace has no IPv6."""
        try:
            door = self._netns.socket(family, kind)
        except OSError as cause:
            if family == socket.AF_INET6 and cause.errno == errno.EAFNOSUPPORT:
                return None
            raise
        try:
            if family == socket.AF_INET6:
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                # Connections of a predecessor that has just ended must not be in the way.
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                with contextlib.suppress(OSError):
                    door.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BYTES)
            door.bind(name)
        except BaseException as failed:
            door.close()
            # ::1 does not exist where IPv6 is switched off by sysctl.
            if (
                isinstance(failed, OSError)
                and failed.errno == errno.EADDRNOTAVAIL
                and family == socket.AF_INET6
            ):
                return None
            raise
        return door
