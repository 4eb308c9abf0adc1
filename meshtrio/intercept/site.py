"""Shell. A network namespace with workloads in it: what they share there on the eBPF rung.

That is the sk_lookup hook with its inbound doors, and the routing by which a called process can be
shown its caller's address. Made for the first workload there, taken away with the last one.
"""

import contextlib

from meshtrio.intercept import nft, routing
from meshtrio.intercept.attachment import NetnsHook
from meshtrio.intercept.doors import Doors, open_doors
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.netns import Netns
from meshtrio.intercept.nft_request import ErrandRefused
from meshtrio.intercept.routing_plan import RoutingPlan, RoutingRefused


class NetnsSite:
    """One namespace, and how many workloads use it."""

    def __init__(self, netns: Netns) -> None:
        """Take the namespace over; `open` attaches."""
        self.netns = netns
        self.inbound: Doors | None = None
        self.transparent = False
        self.door = 0
        """The number under which workers know the inbound doors."""
        self.users = 0
        self.routed = False
        """Routing may have something of ours, whole or half; `close` takes it away."""
        self._hook: NetnsHook | None = None
        self._vips: tuple[str, ...] = ()
        """Virtual IPs that we have given a route."""
        self._asked: tuple[str, ...] = ()

    async def open(
        self, kernel: Kernel, port: int, *, any_port: bool, closed: bool, show_callers: bool
    ) -> None:
        """Open the inbound doors and attach sk_lookup; if that fails, nothing of ours is there."""
        if self.inbound is None:
            self.inbound = open_doors(self.netns, port, any_port=any_port)
        pins = kernel.pins / "netns" / str(self.netns.id) if kernel.pins else None
        try:
            if show_callers:
                await self.show_callers()
            self._hook = NetnsHook(kernel, self.netns, pins, closed=closed)
            for door in self.inbound.sockets:
                self._hook.install(door)
        except BaseException:
            if not self.door:
                self.close_inbound()
            raise

    def close_on_loss(self) -> None:
        """Follow the stricter policy: one workload of this namespace is closed on agent loss."""
        if self._hook is not None:
            self._hook.close_on_loss(self.netns)

    async def show_callers(self) -> None:
        """Prepare routing so that called processes see their callers' addresses, where that can be.

        Not in our own namespace, whose routing is not ours to change. Where the kernel does not want it
        called processes see a fixed address; `status` shows which.
        """
        if self.netns.is_own or self.transparent:
            return
        self.routed = True
        with contextlib.suppress(RoutingRefused):
            await routing.apply(RoutingPlan(transparent=True, vips=self._vips), self.netns.descriptor)
            self.transparent = True

    async def lead(self, vips: tuple[str, ...]) -> None:
        """Give virtual IPs that lead nowhere a route, so that connect() gets as far as rung R0's rules."""
        if vips == self._asked:
            return
        self._asked = vips
        own = self.descriptor
        lost = await routing.unroutable(tuple(vip.partition("/")[0] for vip in vips), own) if vips else []
        led = {*self._vips, *(vip for vip in vips if vip.partition("/")[0] in lost)} & set(vips)
        if tuple(sorted(led)) != self._vips:
            self._vips = tuple(sorted(led))
            self.routed = True
            await routing.apply(RoutingPlan(transparent=self.transparent, vips=self._vips), own)

    @property
    def descriptor(self) -> int | None:
        """The namespace as errands want it: None is our own."""
        return None if self.netns.is_own else self.netns.descriptor

    @property
    def catches(self) -> bool:
        """Say whether sk_lookup is attached."""
        return self._hook is not None

    def catch_no_more(self) -> None:
        """Send no new connection to the inbound doors."""
        if self._hook is not None:
            self._hook.detach()
            self._hook = None

    def close_inbound(self) -> None:
        """Take sk_lookup and its doors away."""
        self.catch_no_more()
        if self.inbound is not None:
            self.inbound.close()
            self.inbound = None

    async def close(self) -> None:
        """Take everything away that is ours in this namespace, but leave it open."""
        self.close_inbound()
        own = self.descriptor
        if self.routed:
            with contextlib.suppress(ErrandRefused):
                # Routing belongs to the namespace: another agent's workloads there may need it.
                if not [table for table in await nft.tables(own) if table.owner != nft.owner()]:
                    await routing.remove(own)
            self.routed, self.transparent, self._vips, self._asked = False, False, (), ()

    def let_go(self) -> None:
        """Close our descriptors only; what is pinned goes on catching for the workers."""
        if self._hook is not None:
            self._hook.let_go()
        if self.inbound is not None:
            self.inbound.close()
        self.netns.close()
