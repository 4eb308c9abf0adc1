"""Shell. Which endpoints are workloads of this node, by the kernel's word. Knows doors, does not dial.

An address is a neighbour's if it is local to a namespace whose doors we serve, and one of our workloads
there listens on its port. Then nobody need say that it is in the mesh, nor who it is. On rung nft the kernel
keeps no list of who listens, so there neighbours are not known.
"""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from meshtrio.address import Address
from meshtrio.intercept.direct_layout import Guard
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.tables import Ports

if TYPE_CHECKING:
    # The agent asks who is Nearby, and has no doors.
    from meshtrio.intercept.arrival import Door

KEPT_S = 5.0
"""How long it is believed that an address is local to a namespace, or not."""
KEPT = 4096
"""How many answers are kept. Full: all are forgotten, and each costs a bind(2) again."""

LISTENED_S = 1.0
"""How long it is believed who listens."""

Listener = Callable[[int, int], int | None]
"""Who listens: namespace and port to workload, as `tables.Ports` knows."""


class Neighbour(NamedTuple):
    """A workload of this node that serves at an address."""

    workload: int
    door: "Door"
    """Through which it is reached."""


class Neighbours:
    """The workloads of this node, as endpoints."""

    def __init__(self, doors: Callable[[], Iterable["Door"]]) -> None:
        """`doors` gives those that are open now."""
        self._doors = doors
        self._local: dict[tuple[int, bytes], tuple[float, bool]] = {}
        self.listener: Listener | None = None
        """None: nobody knows who listens."""

    def find(self, caller: "Door", to: Address) -> Neighbour | None:
        """Return the workload of this node that serves there; None: none, or nobody knows.

        Where several namespaces have the address the caller's own comes first; among others it is nobody's.
        """
        if self.listener is None:
            return None
        doors = {door.netns.id: door for door in self._doors() if door.opened.direction == "inbound"}
        own = doors.pop(caller.netns.id, None)
        if self._is_local(caller.netns, to):
            return self._at(own, to)
        if to.is_loopback:
            return None
        found = [door for door in doors.values() if self._is_local(door.netns, to)]
        return self._at(found[0], to) if len(found) == 1 else None

    def _at(self, door: "Door | None", to: Address) -> Neighbour | None:
        if door is None or self.listener is None:
            return None
        workload = self.listener(door.netns.id, to.port)
        return Neighbour(workload, door) if workload is not None else None

    def _is_local(self, netns: Netns, to: Address) -> bool:
        now, key = time.monotonic(), (netns.id, to.ip)
        known = self._local.get(key)
        if known is not None and now < known[0]:
            return known[1]
        if len(self._local) >= KEPT:
            self._local.clear()
        answer = _can_bind(netns, to)
        self._local[key] = (now + KEPT_S, answer)
        return answer


class Nearby:
    """Whether a workload of this node serves at an address, whoever calls it. Errs on the side of yes."""

    def __init__(self, spaces: Callable[[], Iterable[Netns]], ports: Callable[[], Ports | None]) -> None:
        """`spaces` gives the namespaces of workloads, `ports` who listens there (None: nobody knows)."""
        self._spaces = spaces
        self._ports = ports
        self._listened: dict[int, dict[int, int]] = {}
        self._was: dict[int, dict[int, int]] = {}
        self._until = 0.0
        self._local: dict[tuple[int, bytes], tuple[float, bool]] = {}

    def __call__(self, to: Address) -> bool:
        """Say whether one serves there. What is known of it may be a second old."""
        return any(True for _ in self._serving(to))

    def is_otherwise(self) -> bool:
        """Say whether other workloads listen, or elsewhere, than when this was last asked."""
        self._look(time.monotonic())
        before, self._was = self._was, self._listened
        return before != self._listened

    def serving(self, to: Address) -> Guard | None:
        """Return which workload serves there, and in which namespace; None: none, or more than one does."""
        found = list(self._serving(to))
        return found[0] if len(found) == 1 else None

    def _look(self, now: float) -> None:
        if now >= self._until:
            self._until = now + LISTENED_S
            ports = self._ports()
            self._listened = ports.listened() if ports is not None else {}

    def _serving(self, to: Address) -> Iterator[Guard]:
        now = time.monotonic()
        self._look(now)
        listening = self._listened.get(to.port)
        if not listening:
            return
        for space in self._spaces():
            if space.id in listening and self._is_local(space, to, now):
                yield Guard(listening[space.id], space.id)

    def _is_local(self, space: Netns, to: Address, now: float) -> bool:
        if to.is_loopback:
            return True
        until, answer = self._local.get((space.id, to.ip), (0.0, False))
        if now >= until:
            if len(self._local) >= KEPT:
                self._local.clear()
            answer = _can_bind(space, to)
            self._local[space.id, to.ip] = (now + KEPT_S, answer)
        return answer


def _can_bind(netns: Netns, to: Address) -> bool:
    """Ask the kernel: only an address that is the namespace's own can be bound (EADDRNOTAVAIL, ip(7))."""
    with netns.socket(socket.AF_INET if to.is_v4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((to.host, 0))
        except OSError:
            return False
    return True
