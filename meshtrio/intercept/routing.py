"""Shell. Routing in a workload's network namespace: callers' addresses, and routes to virtual IPs. No
netlink here.

**Callers' addresses.** The worker binds the caller's address (IP_TRANSPARENT) and dials the application
with the APP_DIAL mark. The answers go to an address that is not here, so they would leave the machine;
but the application's socket inherits the mark (tcp_fwmark_accept), and a rule sends what carries it to
lo:

    ip rule  fwmark 0x4d540200/0xffffff00 lookup 15001        ip route  local default dev lo table 15001

**Virtual IPs.** connect() looks for a route before nf_tables sees the packet: on a machine without a
default route it fails with ENETUNREACH, and the nf_tables rung catches nothing (the connect hooks of the
eBPF rung do not mind). So each network of virtual IPs gets a route over lo, in a table that is asked
after all others. Where a route exists nothing changes. Where none does, a process outside the mesh that
dials a virtual IP waits until its own timeout instead of failing at once.

Every function runs one short-lived child in the given network namespace (None: our own). What it makes
belongs to the namespace, not to a workload: `remove` it with the last workload there.
"""

from meshtrio.intercept.nft_errand import Child
from meshtrio.intercept.routing_plan import Ask, Lay, Lift, RoutingApplied, RoutingPlan, RoutingRefused

_CHILD = Child("meshtrio.intercept.routing_child", RoutingRefused)


async def apply(plan: RoutingPlan, netns_fd: int | None = None) -> RoutingApplied:
    """Make routing be what the plan says; what is there already stays untouched.

    Not one transaction, for the kernel has none here: after RoutingRefused or a cancellation a part may be
    there. Doing it again completes it, `remove` takes it away.
    """
    return await _CHILD.send(Lay(plan), netns_fd, answer=RoutingApplied)


async def remove(netns_fd: int | None = None) -> int:
    """Take away all rules and routes that are ours, and say how many; tcp_fwmark_accept is as before us."""
    return await _CHILD.send(Lift(), netns_fd, answer=int)


async def unroutable(addresses: tuple[str, ...], netns_fd: int | None = None) -> list[str]:
    """Return those addresses that have no route, so that dialling them fails before anybody can catch it."""
    return await _CHILD.send(Ask(addresses), netns_fd, answer=list[str])
