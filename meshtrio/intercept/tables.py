"""Shell. What a worker or our resolver needs of the kernel's maps, one system call each. Does not know how
they are made.
"""

import os
import struct
import time
from collections.abc import Callable, Set

from meshtrio.address import Address
from meshtrio.intercept import bpf
from meshtrio.intercept.bpf_cell import Cell
from meshtrio.intercept.layout import (
    BEAT_OF_DOORS,
    LISTENER_BYTES,
    ORIGIN_BYTES,
    PLACE_BYTES,
    PORT_KEY_BYTES,
    Origin,
    listener,
    place,
    port_key,
    unpack_listener,
    unpack_origin,
    unpack_port_key,
)
from meshtrio.observe.process import is_alive

PORTS_KEPT = 32768
"""Half of the map of ports: with more than this, those that nobody has any more are taken out."""


class Destinations:
    """Original destinations of redirected connections, by their source."""

    def __init__(self, descriptor: int) -> None:
        """Borrow the descriptor of the map."""
        self._cell = Cell(descriptor, PLACE_BYTES, ORIGIN_BYTES)

    def take(self, netns: int, source: Address, door: int) -> Origin | None:
        """Return what the connection from this source to this port of ours had dialled, and forget it.

        None: nobody knows. Sources alone are not enough: two workloads of a namespace have doors of their
        own, and Linux may give one port to two connections that go to different ones.
        """
        raw = self._cell.take_out(place(netns, source, door))
        return unpack_origin(raw) if raw else None


class Asked:
    """Which resolver was meant, by the cookie of the socket that asked, or by its workload."""

    def __init__(self, asked: int, last_asked: int) -> None:
        """Borrow the descriptors of both maps."""
        self._asked, self._last_asked = asked, last_asked

    def by_socket(self, cookie: int) -> Origin | None:
        """Return whom the socket with this cookie asked last, and its workload. None: nobody knows."""
        raw = bpf.look_up(self._asked, struct.pack("<Q", cookie), ORIGIN_BYTES)
        return unpack_origin(raw) if raw else None

    def by_workload(self, workload: int) -> Address | None:
        """Return the resolver that a workload asked last."""
        raw = bpf.look_up(self._last_asked, struct.pack("<I", workload), ORIGIN_BYTES)
        return unpack_origin(raw).destination if raw else None

    def forget(self, workload: int) -> None:
        """Take out what a workload asked last: the id may have been another's."""
        bpf.delete(self._last_asked, struct.pack("<I", workload))


class OurDials:
    """Sources of our own dials to apps, which the inbound hook must let pass."""

    def __init__(self, descriptor: int) -> None:
        """Borrow the descriptor of the map."""
        self._descriptor = descriptor
        self._cell = Cell(descriptor, PLACE_BYTES, 8)
        self._us = struct.pack("<Q", os.getpid())

    def add(self, netns: int, source: Address) -> None:
        """Let connections from this source pass. OSError (E2BIG) when the map is full."""
        self._cell.update(place(netns, source), self._us)

    def discard(self, netns: int, source: Address) -> None:
        """Catch connections from this source again."""
        self._cell.delete(place(netns, source))

    def bury(self) -> int:
        """Take out what workers left that were killed while they dialled, and say how many entries."""
        buried = 0
        for key in list(bpf.keys(self._descriptor, PLACE_BYTES)):
            raw = bpf.look_up(self._descriptor, key, 8)
            if raw is not None and not is_alive(struct.unpack("<Q", raw)[0]):
                buried += bpf.delete(self._descriptor, key)
        return buried


class Ports:
    """Who listens on which port."""

    def __init__(self, descriptor: int) -> None:
        """Borrow the descriptor of the map."""
        self._descriptor = descriptor
        self._cell = Cell(descriptor, PORT_KEY_BYTES, LISTENER_BYTES)

    def workload(self, netns: int, port: int) -> int | None:
        """Return the id of the workload that listens there."""
        raw = self._cell.look_up(port_key(netns, port))
        return unpack_listener(raw)[0] if raw else None

    def listener(self, netns: int, port: int) -> int | None:
        """Return the id of the workload that listens there now; connections for it are caught."""
        raw = self._cell.look_up(port_key(netns, port))
        number, sockets = unpack_listener(raw) if raw else (0, 0)
        return number if sockets > 0 else None

    def note(self, netns: int, port: int, workload: int) -> None:
        """Let a workload have a port that no hook has seen it bind. Nothing changes if somebody has it."""
        if self.listener(netns, port) is None:
            bpf.update(self._descriptor, port_key(netns, port), listener(workload, 1))

    def forget(self, workload: int) -> None:
        """Take out all that a workload has."""
        self._forget(lambda number: number == workload)

    def forget_others(self, known: Set[int]) -> None:
        """Take out all that workloads have but these: their numbers may become others'."""
        self._forget(lambda number: number not in known)

    def _forget(self, gone: Callable[[int], bool]) -> None:
        for key in list(bpf.keys(self._descriptor, PORT_KEY_BYTES)):
            raw = bpf.look_up(self._descriptor, key, LISTENER_BYTES)
            if raw and gone(unpack_listener(raw)[0]):
                bpf.delete(self._descriptor, key)

    def listened(self) -> dict[int, dict[int, int]]:
        """Return for each port on which a workload listens which one does, by namespace."""
        found: dict[int, dict[int, int]] = {}
        for key in list(bpf.keys(self._descriptor, PORT_KEY_BYTES)):
            raw = bpf.look_up(self._descriptor, key, LISTENER_BYTES)
            workload, sockets = unpack_listener(raw) if raw is not None else (0, 0)
            if sockets > 0:
                netns, port = unpack_port_key(raw=key)
                found.setdefault(port, {})[netns] = workload
        return found

    def sweep(self, most: int = PORTS_KEPT) -> int:
        """Take out ports that nobody has any more, if there are many; say how many were taken out.

        A bind may come between looking and taking out. Then what was counted is put back; the port is not
        caught for some microseconds. So this is only done before the map could become full.
        """
        keys = list(bpf.keys(self._descriptor, PORT_KEY_BYTES))
        if len(keys) <= most:
            return 0
        swept = 0
        for key in keys:
            raw = bpf.look_up(self._descriptor, key, LISTENER_BYTES)
            if raw is None or unpack_listener(raw)[1] > 0:
                continue
            last = bpf.take_out(self._descriptor, key, LISTENER_BYTES)
            if last is not None and unpack_listener(last)[1] > 0:
                bpf.update(self._descriptor, key, last)
            else:
                swept += 1
        return swept


class Heartbeat:
    """A sign of life that the hooks look at."""

    def __init__(self, descriptor: int, slot: int = BEAT_OF_DOORS) -> None:
        """Borrow the descriptor of the map. The slot says who it is that lives."""
        self._descriptor = descriptor
        self._slot = struct.pack("<I", slot)

    def beat(self) -> None:
        """Say: there is somebody, now (CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns). Good for 3 s."""
        bpf.update(self._descriptor, self._slot, struct.pack("<Q", time.monotonic_ns()))

    def silence(self) -> None:
        """Say: there is nobody any more."""
        bpf.update(self._descriptor, self._slot, bytes(8))
