"""Shell. One workload caught by nf_tables (rung R0): its doors, and the rules that send connections to them.

The twin of capture.EbpfCapture, with the same face. Rules know less by themselves than hooks, so here more is
followed: listening ports, services on loopback, the cgroup, and that the rules are there at all.
"""

import msgspec

from meshtrio.intercept import cgroup, nft
from meshtrio.intercept.capture import Surroundings, Wanted
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.doors import open_doors
from meshtrio.intercept.listening import ListeningPorts
from meshtrio.intercept.nft_plan import (
    CgroupMatch,
    InboundCapture,
    NftPlan,
    OutboundCapture,
    Sets,
    table_name,
)
from meshtrio.intercept.nft_presence import is_there
from meshtrio.intercept.site import NetnsSite
from meshtrio.observe import log


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
        self.cgroup_id = 0
        self._listeners = ListeningPorts()
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
        self.cgroup_id = match.id if match else 0

    async def refresh(self, surroundings: Surroundings) -> bool:
        """Follow the ports on which the workload listens, the services on loopback, and its cgroup.

        True if that was made anew, and is caught again. Rules that somebody took away are set again.
        """
        name = self._wanted.name
        anew = self._wanted.cgroup is not None and cgroup.is_another(self._wanted.cgroup, self.cgroup_id)
        if anew:
            await self.attach(surroundings)
        elif not is_there(self._site.netns, table_name(name)):
            # `nft flush ruleset` does that, and so each start of Debian's nftables.service.
            log.warning("somebody removed the rules of a workload; they are set again", workload=name)
            await self.attach(surroundings)
        else:
            await self._follow(surroundings)
        return anew

    async def _follow(self, surroundings: Surroundings) -> None:
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
        found = self._listeners.of(cgroup.processes(self._wanted.cgroup))
        return tuple(sorted(found | set(self._wanted.ports)))
