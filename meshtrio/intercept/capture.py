"""Shell. One workload caught by eBPF (rung R1): its doors, and the hooks that send connections to them; and
what is wanted of that and of its twin, nft_capture.py, which has the same face.

Opening attaches everything or nothing. Does not know workers; it hands over doors as values.
"""

import hashlib
import os
import socket
from pathlib import Path

import msgspec

from meshtrio.intercept import cgroup, listening
from meshtrio.intercept.attachment import CgroupHooks
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.doors import Doors, open_doors
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import WorkloadWords
from meshtrio.intercept.site import NetnsSite
from meshtrio.intercept.tables import Ports


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to catch, with everything decided."""

    id: int
    name: str
    namespace: str = "default"
    """Whose services have short names there."""
    cgroup: Path | None
    closed: bool
    relayed: bool = False
    """Its connections go through the worker, also to direct services."""
    ports: tuple[int, ...] = ()
    outbound_port: int
    inbound_port: int
    any_port: bool = False
    """Another port may be taken where these are taken."""


class Surroundings(msgspec.Struct, frozen=True):
    """What is excluded, and which services stand on loopback addresses: the same for all workloads."""

    outbound_ports: tuple[int, ...] = ()
    inbound_ports: tuple[int, ...] = ()
    cidrs: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Addresses on loopback that are caught although loopback is not."""
    vips: tuple[str, ...] = ()
    """Virtual IPs as networks of one address, for rung R0, which needs a route to each."""


class EbpfCapture:
    """A workload caught by hooks at its cgroup, inbound by sk_lookup at its network namespace."""

    rung = "ebpf"

    def __init__(self, kernel: Kernel, wanted: Wanted, site: NetnsSite, dns: DnsDoor | None = None) -> None:
        """Attach; the connect hooks last, when everything that they need is there.

        Queries go to the door `dns`, which is borrowed; None: they are not caught.
        """
        assert wanted.cgroup is not None
        self._kernel = kernel
        self._wanted = wanted
        self._netns = site.netns
        self._dns = dns
        self._ports = Ports(kernel.maps["ports"])
        self.outbound = open_doors(site.netns, wanted.outbound_port, any_port=wanted.any_port)
        self._pins = kernel.pins / "links" / str(wanted.id) if kernel.pins else None
        try:
            self._hooks = self._attached(wanted.cgroup)
        except BaseException:
            self.outbound.close()
            raise

    async def refresh(self, surroundings: Surroundings) -> bool:
        """Catch the cgroup again if it was made anew, as systemd does when a unit is started again.

        True if so. All else the hooks know by themselves. KernelRefused: it cannot be caught any more.
        """
        path = self._hooks.path
        if not cgroup.is_another(path, self.cgroup_id):
            return False
        self._hooks.let_go()
        self._hooks = self._attached(path)
        return True

    async def catch_no_more(self) -> None:
        """Send no new connection to the doors. Established ones go on."""
        self._hooks.detach()
        self._ports.forget(self._wanted.id)

    async def close(self) -> None:
        """Let the doors go, once nothing is caught any more."""
        self.outbound.close()

    def let_go(self) -> None:
        """Close our descriptors only; what is pinned goes on catching for the workers."""
        self._hooks.let_go()
        self.outbound.close()

    def _attached(self, path: Path) -> CgroupHooks:
        hooks = CgroupHooks(self._kernel, path, self._pins)
        try:
            self._note_listeners(path)
            hooks.describe(self._words(self.outbound))
        except BaseException:
            hooks.detach()
            raise
        self.cgroup_id = hooks.cgroup_id
        return hooks

    def _words(self, doors: Doors) -> WorkloadWords:
        dns = self._dns
        return WorkloadWords(
            netns=self._netns.id,
            id=self._wanted.id,
            closed=self._wanted.closed,
            relayed=self._wanted.relayed,
            check_netns=self._netns.has_cookie,
            door4=doors.port if doors.by_family(socket.AF_INET) else 0,
            door6=doors.port if doors.by_family(socket.AF_INET6) else 0,
            dns4=dns.port if dns and dns.has(socket.AF_INET) else 0,
            dns6=dns.port if dns and dns.has(socket.AF_INET6) else 0,
            sticky=_sticky(self._wanted),
        )

    def _note_listeners(self, path: Path) -> None:
        """Note the ports of sockets that were bound before there was a hook, and the configured ones."""
        found = listening.ports_of_processes(cgroup.processes(path))
        for port in found | set(self._wanted.ports):
            self._ports.note(self._netns.id, port, self._wanted.id)


def _sticky(wanted: Wanted) -> int:
    """Return by which number direct services recognise a caller: the same for as long as it has its name."""
    who = f"{os.uname().nodename}/{wanted.namespace}/{wanted.name}"
    return int.from_bytes(hashlib.sha256(who.encode()).digest()[:4], "big")
