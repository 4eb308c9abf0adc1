"""Shell. A workload for tests of the programs: its namespace, cgroup, hooks, doors, process. No worker.

The test is the worker: it accepts at the doors and reads the maps.
"""

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from meshtrio.address import Address
from meshtrio.intercept import bpf, tables
from meshtrio.intercept.attachment import CgroupHooks, NetnsHook
from meshtrio.intercept.doors import Doors, open_doors
from meshtrio.intercept.exclusions import look
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import (
    LISTENER_BYTES,
    Origin,
    Reason,
    WorkloadWords,
    place,
    port_key,
    unpack_listener,
)
from meshtrio.intercept.netns import Netns
from tests.bpf.app import App, app_in
from tests.support.namespace import Namespace
from tests.support.namespace_door import cgroup

VIP, VIP6, VIP_MAPPED = "10.96.0.10", "fd6d:6573:68::10", "::ffff:10.96.0.11"
HERE, HERE6 = "10.1.2.3", "fd00:1::3"
"""Addresses of the pod that are not loopback: who dials them unmeshed reaches the pod itself."""
WORKLOAD = 7


class Arrival(NamedTuple):
    """A connection that was accepted: where from, what it was dialled as."""

    source: Address
    local: Address
    origin: Origin | None


class Pod:
    """Everything of one workload."""

    def __init__(self, kernel: Kernel, space: Namespace, group: Path) -> None:
        """Open the namespace; `pod_in` does the rest."""
        self.kernel = kernel
        self.space = space
        self.group = group
        self.netns = Netns.adopt(os.dup(space.fd), named="the pod")
        self.hooks: CgroupHooks
        self.outbound: Doors
        self.app: App
        self.words: WorkloadWords
        self.destinations = tables.Destinations(kernel.maps["destinations"])
        self.heartbeat = tables.Heartbeat(kernel.maps["heartbeat"])
        self._before = kernel.reasons()

    def describe(self, **changes: Any) -> None:
        """Describe the workload to the hooks, with these words changed from now on."""
        self.words = msgspec.structs.replace(self.words, **changes)
        self.hooks.describe(self.words)

    def counted(self) -> dict[Reason, int]:
        """Return which reasons were given since this was last asked, and how often."""
        now = self.kernel.reasons()
        change = {reason: now[reason] - self._before[reason] for reason in Reason}
        self._before = now
        return {reason: count for reason, count in change.items() if count}

    def dial(self, host: str, port: int = 80, **how: Any) -> tuple[Address, Address]:
        """Let the process dial; return its own idea of both ends. The socket stays open, named `kept`."""
        said = self.app.do("kept = dial(host, port, **how); said = ends(kept)", host=host, port=port, how=how)
        return Address.of(*said["local"]), Address.of(*said["peer"])

    def at_door(self, family: int = socket.AF_INET) -> Arrival:
        """Accept at the outbound door of this family, and take what the connection had dialled."""
        door = self.outbound.by_family(family)
        assert door
        source, local = accept(door)
        return Arrival(source, local, self.destinations.take(self.netns.id, source, local.port))

    def remembered(self, source: Address) -> bool:
        """Say whether `destinations` has an entry for this source, at whichever door."""
        of_source = place(self.netns.id, source)[:26]
        return any(key.startswith(of_source) for key in bpf.keys(self.kernel.maps["destinations"], 32))

    def listeners(self, port: int) -> tuple[int, int] | None:
        """Return the entry of a port: (workload, sockets)."""
        raw = bpf.look_up(self.kernel.maps["ports"], port_key(self.netns.id, port), LISTENER_BYTES)
        return unpack_listener(raw) if raw else None

    @contextlib.contextmanager
    def inbound(self, *, closed: bool = False, doors: bool = True) -> Iterator[Doors]:
        """Attach sk_lookup to the namespace and give it doors."""
        hook = NetnsHook(self.kernel, self.netns, None, closed=closed)
        opened = open_doors(self.netns, 0)
        try:
            for door in opened.sockets if doors else ():
                hook.install(door)
            yield opened
        finally:
            hook.detach()
            opened.close()

    @contextlib.contextmanager
    def entry(self, name: str, key: bytes, value: bytes) -> Iterator[None]:
        """Have an entry in a map for as long as the block lasts."""
        bpf.update(self.kernel.maps[name], key, value)
        try:
            yield
        finally:
            bpf.delete(self.kernel.maps[name], key)

    @contextlib.contextmanager
    def excluded(self, name: str, key: bytes) -> Iterator[None]:
        """Have a port or a network excluded for as long as the block lasts."""
        look(self.kernel, outbound=True)
        try:
            with self.entry(name, key, b"\1"):
                yield
        finally:
            look(self.kernel, outbound=False)


def waiting(listener: socket.socket, patience_s: float = 3.0) -> bool:
    """Say whether a connection waits to be accepted, or comes within the patience."""
    return bool(select.select([listener], [], [], patience_s)[0])


def accept(listener: socket.socket) -> tuple[Address, Address]:
    """Accept, and return where the connection comes from and what it was dialled as."""
    assert waiting(listener), "nobody came"
    accepted, peer = listener.accept()
    with accepted:
        return Address.of(*peer[:2]), Address.of(*accepted.getsockname()[:2])


@contextlib.contextmanager
def pod_in(
    kernel: Kernel, space: Namespace, *, workload: int = WORKLOAD, described: bool = True
) -> Iterator[Pod]:
    """Make a workload in a namespace. Nothing of it is left when the block ends, entries in maps included."""
    with contextlib.ExitStack() as stack:
        if space.command("ip", "-o", "addr", "show", "to", HERE) == "":
            space.add_address(f"{HERE}/32", "lo")
            space.add_address(f"{HERE6}/128", "lo")
        group = stack.enter_context(cgroup())
        pod = Pod(kernel, space, group)
        stack.callback(pod.netns.close)
        stack.callback(_forget, pod)
        pod.outbound = open_doors(pod.netns, 0)
        stack.callback(pod.outbound.close)
        pod.hooks = CgroupHooks(kernel, group, None)
        stack.callback(lambda: pod.hooks.detach())
        pod.words = WorkloadWords(
            netns=pod.netns.id,
            id=workload,
            closed=False,
            check_netns=pod.netns.has_cookie,
            door4=pod.outbound.port,
            door6=pod.outbound.port,
        )
        if described:
            pod.describe()
        pod.heartbeat.beat()
        pod.app = stack.enter_context(app_in(space, group))
        yield pod


def _forget(pod: Pod) -> None:
    """Take the entries of this namespace out of the session's maps."""
    for name in ("destinations", "ports"):
        key_bytes = 32 if name == "destinations" else 16
        for key in list(bpf.keys(pod.kernel.maps[name], key_bytes)):
            if struct.unpack_from("<Q", key)[0] == pod.netns.id:
                with contextlib.suppress(OSError):
                    bpf.delete(pod.kernel.maps[name], key)


def failure(text: str) -> int:
    """Return the number of an errno's name."""
    return {name: number for number, name in errno.errorcode.items()}[text]
