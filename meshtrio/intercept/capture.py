"""Shell. One workload caught: its doors, and the hooks or rules that send connections to them.

Two kinds with one face: by eBPF (rung R1) and by nf_tables (rung R0). Opening either attaches
everything or nothing. Does not know workers; it hands over doors as values.
"""

import hashlib
import os
import socket
from pathlib import Path

import msgspec

from meshtrio.intercept import bpf, cgroup, listening, nft
from meshtrio.intercept.attachment import CgroupHooks
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.doors import Doors, open_doors
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import (
    LISTENER_BYTES,
    PORT_KEY_BYTES,
    WorkloadWords,
    listener,
    port_key,
    unpack_listener,
)
from meshtrio.intercept.nft_plan import CgroupMatch, InboundCapture, NftPlan, OutboundCapture, Sets
from meshtrio.intercept.site import NetnsSite


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to catch, with everything decided."""

    id: int
    name: str
    namespace: str = "default"
    """Whose services have short names there."""
    cgroup: Path | None
    closed: bool
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
        self.outbound = open_doors(site.netns, wanted.outbound_port, any_port=wanted.any_port)
        pins = kernel.pins / "links" / str(wanted.id) if kernel.pins else None
        try:
            self._hooks = CgroupHooks(kernel, wanted.cgroup, pins)
            try:
                self._note_listeners()
                self._hooks.describe(self._words(self.outbound))
            except BaseException:
                self._hooks.detach()
                raise
        except BaseException:
            self.outbound.close()
            raise

    async def catch_no_more(self) -> None:
        """Send no new connection to the doors. Established ones go on."""
        self._hooks.detach()
        ports = self._kernel.maps["ports"]
        for key in list(bpf.keys(ports, PORT_KEY_BYTES)):
            raw = bpf.look_up(ports, key, LISTENER_BYTES)
            if raw and unpack_listener(raw)[0] == self._wanted.id:
                bpf.delete(ports, key)

    async def close(self) -> None:
        """Let the doors go, once nothing is caught any more."""
        self.outbound.close()

    def let_go(self) -> None:
        """Close our descriptors only; what is pinned goes on catching for the workers."""
        self._hooks.let_go()
        self.outbound.close()

    def _words(self, doors: Doors) -> WorkloadWords:
        dns = self._dns
        return WorkloadWords(
            netns=self._netns.id,
            id=self._wanted.id,
            closed=self._wanted.closed,
            check_netns=self._netns.has_cookie,
            door4=doors.port if doors.by_family(socket.AF_INET) else 0,
            door6=doors.port if doors.by_family(socket.AF_INET6) else 0,
            dns4=dns.port if dns and dns.has(socket.AF_INET) else 0,
            dns6=dns.port if dns and dns.has(socket.AF_INET6) else 0,
            sticky=_sticky(self._wanted),
        )

    def _note_listeners(self) -> None:
        """Note the ports of sockets that were bound before there was a hook, and the configured ones."""
        assert self._wanted.cgroup is not None
        found = listening.ports_of_processes(cgroup.processes(self._wanted.cgroup))
        for port in found | set(self._wanted.ports):
            key = port_key(self._netns.id, port)
            raw = bpf.look_up(self._kernel.maps["ports"], key, LISTENER_BYTES)
            if raw is None or unpack_listener(raw)[1] <= 0:
                bpf.update(self._kernel.maps["ports"], key, listener(self._wanted.id, 1))


def _sticky(wanted: Wanted) -> int:
    """Return by which number direct services recognise a caller: the same for as long as it has its name."""
    who = f"{os.uname().nodename}/{wanted.namespace}/{wanted.name}"
    return int.from_bytes(hashlib.sha256(who.encode()).digest()[:4], "big")


class NftCapture:
    """A workload caught by nf_tables rules: by its cgroup, or as a whole network namespace."""

    rung = "nft"

    def __init__(self, wanted: Wanted, site: NetnsSite, dns: DnsDoor | None = None) -> None:
        """Open the doors; `attach` sets the rules. Queries go to `dns`, which is borrowed, if it is given."""
        self._wanted = wanted
        self._dns = dns
        self._site = site
        netns = site.netns
        self._netns_fd = None if netns.is_own else netns.descriptor
        self._ports: tuple[int, ...] = ()
        self._around = Surroundings()
        self.outbound = open_doors(netns, wanted.outbound_port, any_port=wanted.any_port)
        try:
            # A redirect of what comes from outside goes to the address of the interface.
            self.inbound = open_doors(netns, wanted.inbound_port, any_port=wanted.any_port, wildcard=True)
        except BaseException:
            self.outbound.close()
            raise

    async def attach(self, surroundings: Surroundings) -> None:
        """Set the rules in one transaction. NftRefused names what is missing; nothing is set then."""
        wanted = self._wanted
        match = None
        if wanted.cgroup is not None:
            match = CgroupMatch(level=cgroup.depth(wanted.cgroup), id=cgroup.identifier(wanted.cgroup))
        await self._site.lead(surroundings.vips)
        listening_ports = self._listening()
        excluded = tuple(self._never_inbound(surroundings))
        plan = NftPlan(
            workload=wanted.name,
            owner=nft.owner(),
            cgroup=match,
            outbound=OutboundCapture(
                door=self.outbound.port,
                services=surroundings.services,
                except_ports=surroundings.outbound_ports,
                except_cidrs=surroundings.cidrs,
                dns_door=self._dns.port if self._dns else None,
            ),
            inbound=InboundCapture(
                door=self.inbound.port,
                ports=None if match is None else tuple(p for p in listening_ports if p not in excluded),
                except_ports=excluded,
            ),
            transparent=self._site.transparent,
        )
        await nft.apply(plan, self._netns_fd)
        self._around, self._ports = surroundings, listening_ports

    async def refresh(self, surroundings: Surroundings) -> None:
        """Follow the ports on which the workload listens, and the services on loopback."""
        await self._site.lead(surroundings.vips)
        if msgspec.structs.replace(surroundings, services=(), vips=()) != msgspec.structs.replace(
            self._around, services=(), vips=()
        ):
            # Exclusions are rules, not sets: set all anew, in one transaction.
            await self.attach(surroundings)
            return
        ports, services = self._listening(), surroundings.services
        if self._wanted.cgroup is None:
            ports = self._ports
        if ports == self._ports and services == self._around.services:
            return
        excluded = self._never_inbound(surroundings)
        caught = tuple(port for port in ports if port not in excluded)
        await nft.update(Sets(workload=self._wanted.name, ports=caught, services=services), self._netns_fd)
        self._ports, self._around = ports, surroundings

    async def catch_no_more(self) -> None:
        """Send no new connection to the doors. Established ones go on, as long as the table is there."""
        await nft.release(self._wanted.name, self._netns_fd)

    async def close(self) -> None:
        """Remove the table and let the doors go. Connections that are still redirected stand still then."""
        await nft.remove(self._wanted.name, self._netns_fd)
        self.let_go()

    def let_go(self) -> None:
        """Close our descriptors only; the rules go on catching for the workers."""
        self.outbound.close()
        self.inbound.close()

    def _never_inbound(self, surroundings: Surroundings) -> set[int]:
        doors = {self.inbound.port, self.outbound.port, *({self._dns.port} if self._dns else ())}
        return {*surroundings.inbound_ports, *doors}

    def _listening(self) -> tuple[int, ...]:
        if self._wanted.cgroup is None:
            return ()
        found = listening.ports_of_processes(cgroup.processes(self._wanted.cgroup))
        return tuple(sorted(found | set(self._wanted.ports)))
