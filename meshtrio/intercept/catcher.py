"""Shell. Which rung a workload gets, and its doors announced: to the workers, and to our resolver the one for
queries. Keeps no list of workloads.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import trio

from meshtrio.intercept import nft
from meshtrio.intercept.asked import Meant, MeantByHooks, MeantByRules
from meshtrio.intercept.capture import EbpfCapture, Surroundings, Wanted
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.doors import Doors
from meshtrio.intercept.kernel import Kernel, KernelRefused
from meshtrio.intercept.nft_capture import NftCapture
from meshtrio.intercept.nft_request import NftRefused
from meshtrio.intercept.site import NetnsSite
from meshtrio.intercept.workload import Rules, Spec, Workload
from meshtrio.messages import CloseDoor, Direction, KnowWorkload, OpenDoor, WorkloadName

UNDO_S = 5.0
"""How long taking back may hold up a cancellation."""
Told = OpenDoor | CloseDoor | KnowWorkload
Tell = Callable[[Told, list[int]], None]
HearDoor = Callable[[DnsDoor], None]


def _nobody(door: DnsDoor) -> None:
    """Serve no queries."""


class Catcher:
    """Attaches workloads: by eBPF where the kernel and the workload allow it, else by nf_tables."""

    def __init__(
        self, rules: Rules, *, tell: Tell, dns_opened: HearDoor = _nobody, dns_closed: HearDoor = _nobody
    ) -> None:
        """Begin without a kernel; `use` gives one.

        A door is served from `dns_opened` on, before queries come there, until `dns_closed`, after which its
        sockets are closed at once.
        """
        self.rules = rules
        self.dns_opened = dns_opened
        self.dns_closed = dns_closed
        self.kernel: Kernel | None = None
        self.surroundings = Surroundings()
        self._why_not = ""
        self.tell = tell
        self._doors = 0

    def use(self, kernel: Kernel | None, why_not: str) -> None:
        """Catch by eBPF through this kernel from now on, or not, and say why not."""
        self.kernel = kernel
        self._why_not = why_not

    async def catch(self, spec: Spec, number: int, path: Path | None, site: NetnsSite) -> Workload:
        """Attach a workload on the best rung that it can have; nothing is left behind if that fails.

        KernelRefused, NftRefused or DoorError say why not.
        """
        why = self._why_no_ebpf(path)
        wanted = Wanted(
            id=number,
            name=spec.name,
            namespace=spec.namespace,
            cgroup=path,
            closed=spec.on_agent_loss == "closed",
            relayed=not spec.accelerated,
            ports=spec.ports,
            # Workloads of one namespace cannot all have the same port; the first one gets it. The others
            # must not even try: SO_REUSEPORT would let them, and connections would go to either.
            outbound_port=0 if site.users else self.rules.outbound_port,
            inbound_port=0 if site.users else self.rules.inbound_port,
            any_port=self.rules.any_port or site.users > 0,
        )
        if not why:
            try:
                return await self._by_ebpf(spec, wanted, site)
            except KernelRefused as refused:
                if self.rules.rung == "ebpf":
                    raise
                why = str(refused)
        if self.rules.rung == "ebpf":
            raise KernelRefused(why)
        if self.rules.show_callers:
            await site.show_callers()
        dns = self._open_dns(wanted, site, None)
        try:
            capture = NftCapture(wanted, site, dns)
        except BaseException:
            self.close_dns(dns)
            raise
        workload = Workload(spec, number, path, False, site, capture, [], why, dns)
        try:
            workload.doors = [
                self._door("outbound", capture.outbound, workload),
                self._door("inbound", capture.inbound, workload),
            ]
            await capture.attach(self.surroundings)
        except BaseException as failed:
            for door in workload.doors:
                self.tell(CloseDoor(door), [])
            if not isinstance(failed, Exception):
                # Cancelled (maybe in a group): the rules may be there already.
                with trio.move_on_after(UNDO_S, shield=True), contextlib.suppress(NftRefused):
                    await nft.remove(spec.name, site.descriptor)
            capture.let_go()
            self.close_dns(dns)
            raise
        return workload

    async def _by_ebpf(self, spec: Spec, wanted: Wanted, site: NetnsSite) -> Workload:
        assert self.kernel is not None
        if not site.catches:
            await site.open(
                self.kernel,
                wanted.inbound_port,
                any_port=wanted.any_port,
                closed=wanted.closed,
                show_callers=self.rules.show_callers,
            )
        elif wanted.closed:
            site.close_on_loss()
        self.tell(KnowWorkload(spec.known_as(wanted.id)), [])
        dns: DnsDoor | None = None
        try:
            if not self.kernel.why_no_names:
                dns = self._open_dns(wanted, site, self.kernel)
            capture = EbpfCapture(self.kernel, wanted, site, dns)
        except BaseException:
            self.close_dns(dns)
            self.tell(KnowWorkload(WorkloadName(wanted.id, "")), [])
            if not site.door:
                # Nobody would accept there, and the doors of the nf_tables rung stand on the same port.
                site.close_inbound()
            raise
        workload = Workload(spec, wanted.id, wanted.cgroup, False, site, capture, [], dns=dns)
        workload.why_no_dns = self.kernel.why_no_names if self.rules.dns else ""
        if not site.door:
            assert site.inbound is not None
            site.door = self._door("inbound", site.inbound, workload)
        workload.doors = [self._door("outbound", capture.outbound, workload)]
        return workload

    def _open_dns(self, wanted: Wanted, site: NetnsSite, kernel: Kernel | None) -> DnsDoor | None:
        """Open the door for queries and let it be served, if they are to be caught. `kernel`: by hooks."""
        if not self.rules.dns:
            return None
        door = DnsDoor(site.netns, 0 if site.users else self.rules.dns_port, any_port=wanted.any_port)
        try:
            meant: Meant = MeantByHooks(kernel, site.netns, wanted.id) if kernel else MeantByRules(site.netns)
            door.serves(wanted.name, meant, namespace=wanted.namespace)
            self.dns_opened(door)
        except BaseException:
            door.close()
            raise
        return door

    def close_dns(self, door: DnsDoor | None) -> None:
        """Let a door for queries be served no more, and close it."""
        if door is not None:
            self.dns_closed(door)
            for one in (*door.udp, *door.tcp):
                trio.lowlevel.notify_closing(one)
            door.close()

    def _door(self, direction: Direction, doors: Doors, workload: Workload) -> int:
        self._doors += 1
        opened = OpenDoor(
            door=self._doors,
            direction=direction,
            rung=workload.rung,
            netns=workload.site.netns.id,
            workload=workload.spec.known_as(workload.id),
            listeners=len(doors.sockets),
            transparent=workload.site.transparent,
        )
        self.tell(opened, [workload.site.netns.descriptor, *(door.fileno() for door in doors.sockets)])
        return self._doors

    def _why_no_ebpf(self, path: Path | None) -> str:
        if self.rules.rung == "nft":
            return "configured (rung: nft)"
        if self.kernel is None:
            return self._why_not
        return "" if path is not None else "the connect hooks need a cgroup, and none was given"
