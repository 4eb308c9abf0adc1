"""Shell. Doors: our listening sockets inside a workload's network namespace. Knows no BPF.

One listening socket is shared by all workers, not one a worker in a SO_REUSEPORT group: a worker
that is killed or stopped then strands only its own connections, never a share of the new ones.
SO_REUSEPORT is set all the same, so that a successor of a crashed agent can open the same door
while the orphaned workers still hold theirs.
"""

import contextlib
import errno
import socket

import msgspec

from meshtrio.intercept.netns import Netns

BACKLOG = 4096
"""Connections that wait to be accepted. Full: the kernel drops the SYN and the caller tries again."""


class DoorError(Exception):
    """A door cannot be opened; the message names the port and what to do."""


class Doors(msgspec.Struct):
    """The listening sockets of one purpose: IPv4, and IPv6 unless the namespace has none."""

    port: int
    sockets: list[socket.socket]
    claim: socket.socket | None = None
    """Says in this namespace that the port is an agent's. Dies with the agent; workers never hold it."""

    def by_family(self, family: int) -> socket.socket | None:
        """Return the socket of this family, if there is one."""
        return next((door for door in self.sockets if door.family == family), None)

    def close(self) -> None:
        """Close our descriptors; workers have their own."""
        for door in (*self.sockets, *([self.claim] if self.claim else [])):
            door.close()


def open_doors(netns: Netns, port: int, *, wildcard: bool = False, any_port: bool = False) -> Doors:
    """Listen on loopback (or on all addresses) of a namespace, on both families and the same port.

    `any_port` takes another port when this one is taken, be it by a door of ours. DoorError if nothing
    can be had.
    """
    claim = claimed(netns, port) if port and not any_port else None
    for _ in range(16):
        try:
            doors = _open(netns, port, wildcard=wildcard, shared=not any_port)
        except OSError as cause:
            if cause.errno != errno.EADDRINUSE or (port and not any_port):
                if claim is not None:
                    claim.close()
                raise DoorError(why_not(cause, port)) from cause
            port = 0
        else:
            doors.claim = claim
            return doors
    raise DoorError("no port is free for a door on both IPv4 and IPv6")


def claimed(netns: Netns, port: int) -> socket.socket:
    """Be the only agent that opens this port here, until the answer is closed; DoorError if another one is.

    SO_REUSEPORT alone would let a second agent share it.
    """
    with netns.entered():
        # Names that begin with a zero byte are abstract (unix(7)): one set a network namespace, no file.
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        claim.bind(f"\0meshtrio/door/{port}")
    except OSError as cause:
        claim.close()
        raise DoorError(
            f"port {port} is a door of another meshtrio agent in this network namespace;"
            " stop that one, or configure other ports"
        ) from cause
    return claim


def _open(netns: Netns, port: int, *, wildcard: bool, shared: bool) -> Doors:
    opened: list[socket.socket] = []
    try:
        for family, host in (
            (socket.AF_INET, "0.0.0.0" if wildcard else "127.0.0.1"),
            (socket.AF_INET6, "::" if wildcard else "::1"),
        ):
            try:
                door = netns.socket(family)
            except OSError as cause:
                if family == socket.AF_INET6 and cause.errno == errno.EAFNOSUPPORT:
                    continue
                raise
            opened.append(door)
            if family == socket.AF_INET6:
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Before bind: share with a door that is there. After it: only a successor's may join.
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                door.bind((host, port))
            except OSError as cause:
                # ::1 does not exist where IPv6 is switched off by sysctl.
                if family == socket.AF_INET6 and cause.errno == errno.EADDRNOTAVAIL:
                    opened.remove(door)
                    door.close()
                    continue
                raise
            port = door.getsockname()[1]
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            door.listen(BACKLOG)
    except BaseException:
        for door in opened:
            with contextlib.suppress(OSError):
                door.close()
        raise
    return Doors(port=port, sockets=opened)


def why_not(cause: OSError, port: int, *, what: str = "") -> str:
    """Say why a port cannot be had (and for what), and what to do."""
    wanted = f" for {what}" if what else ""
    if cause.errno == errno.EADDRINUSE:
        return (
            f"port {port}{wanted} is taken by another process (see: ss -lntup 'sport = {port}');"
            " free it, or configure another"
        )
    return f"cannot listen on port {port}{wanted}: {cause.strerror}"
