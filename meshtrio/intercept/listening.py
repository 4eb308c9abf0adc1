"""Shell. Which TCP ports do processes listen on? From sock_diag and /proc; knows no BPF.

Sockets that were bound before a workload came into the mesh have passed no hook, so the agent
notes their ports from here. Rung R0 has no hook at all and asks again and again.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from meshtrio.intercept.netns import Netns, NetnsError
from meshtrio.intercept.sockdiag import Listener, SockDiag

LISTEN = "0A"
KEPT_S = 5.0
"""How long it is believed whose a listening socket is: a process may get it handed over."""

Tables = dict[int, dict[int, set[int]]]
"""By network namespace (its inode), {port: inodes of its listening sockets}."""


def ports_in_netns(pid: int | str = "thread-self", *, loopback: bool = True) -> dict[int, set[int]]:
    """Return {port: inodes of its listening sockets} of this process's namespace; empty if it is gone.

    Without `loopback` those are left out that only the machine itself can reach.
    """
    try:
        listeners = _asked_for(pid)
    except OSError:
        # The kernel has no tcp_diag. The same from /proc takes time by the number of all connections.
        listeners = [*_read(pid)]
    found: dict[int, set[int]] = {}
    for ip, port, inode in listeners:
        if loopback or not _is_loopback(ip):
            found.setdefault(port, set()).add(inode)
    return found


def _asked_for(pid: int | str) -> list[Listener]:
    try:
        netns = Netns.at(f"/proc/{pid}/ns/net")
    except NetnsError:
        return []
    with contextlib.closing(netns), contextlib.closing(SockDiag(netns)) as line:
        return [*line.listeners()]


def _read(pid: int | str) -> Iterator[Listener]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{table}") as lines:
            next(lines, None)
            for line in lines:
                fields = line.split()
                if len(fields) > 9 and fields[3] == LISTEN:
                    host, _, port = fields[1].rpartition(":")
                    # Words of 32 bits, each in the machine's own order.
                    words = (int(host[at : at + 8], 16) for at in range(0, len(host), 8))
                    ip = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
                    yield Listener(ip, int(port, 16), int(fields[9]))


def _is_loopback(ip: bytes) -> bool:
    if ip.startswith(bytes(10) + b"\xff\xff"):
        ip = ip[12:]
    return ip[0] == 127 if len(ip) == 4 else ip == bytes(15) + b"\x01"


def ports_of_processes(pids: Iterable[int], *, loopback: bool = True) -> set[int]:
    """Return the ports on which these processes listen. Processes that vanish meanwhile are passed over.

    Without `loopback` those are left out that only the machine itself can reach.
    """
    return _ports(_tables(found := list(pids), loopback=loopback), found)


class ListeningPorts:
    """The ports on which processes listen, for who asks again and again.

    What a process has open is read anew only if there are other listening sockets, or other processes, or
    after KEPT_S: one with 10,000 connections takes 40 ms.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing."""
        self._clock = clock
        self._seen: tuple[list[int], Tables] = [], {}
        self._ports: set[int] = set()
        self._until = 0.0

    def of(self, pids: Iterable[int]) -> set[int]:
        """Return the ports on which these processes listen."""
        now, found = self._clock(), list(pids)
        seen = found, _tables(found)
        if seen != self._seen or now >= self._until:
            self._ports, self._seen, self._until = _ports(seen[1], found), seen, now + KEPT_S
        return self._ports


def _tables(pids: Iterable[int], *, loopback: bool = True) -> Tables:
    tables: Tables = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            namespace = Path(f"/proc/{pid}/ns/net").stat().st_ino
            if namespace not in tables:
                tables[namespace] = ports_in_netns(pid, loopback=loopback)
    return tables


def _ports(tables: Tables, pids: Iterable[int]) -> set[int]:
    ports: set[int] = set()
    for pid in pids if any(tables.values()) else ():
        inodes = _socket_inodes(pid)
        with contextlib.suppress(OSError):
            table = tables.get(Path(f"/proc/{pid}/ns/net").stat().st_ino, {})
            ports |= {port for port, holders in table.items() if holders & inodes}
    return ports


def _socket_inodes(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError, ValueError):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return found
