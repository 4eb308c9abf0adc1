"""Core. What a network namespace needs of routing, as values, and the numbers that we use there. Knows no
netlink.
"""

import ipaddress

import msgspec

from meshtrio.intercept.nft_request import ErrandRefused

TRANSPARENT_TABLE = 15001
"""`local default dev lo`: what carries the mark is for us, whatever its address."""
VIP_TABLE = 15002
"""Routes to virtual IPs over lo, for machines that have no other."""

TRANSPARENT_PRIORITY = 115
"""Before what VPNs and CNI plugins add; it matches nothing but our mark."""
VIP_PRIORITY = 32_800
"""After the main (32766) and the default table (32767): any route that there is wins."""

PROTOCOL, PROTOCOL_ACCEPT_WAS_ON = 77, 78
"""Who made a rule or route (`ip rule` shows "proto 77"). The second one also remembers, in the kernel, that
tcp_fwmark_accept was on before us and must stay on after us."""

MAX_VIPS = 1024
"""Networks, not addresses. A plan with more is refused."""


class RoutingRefused(ErrandRefused):
    """Routing cannot be set up like this; the message names what the kernel refused."""


class RoutingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a network namespace needs; shared by all workloads in it."""

    transparent: bool = False
    """Let the worker dial applications from their callers' addresses."""
    vips: tuple[str, ...] = ()
    """Networks of virtual IPs that must have a route, for connect() to get as far as the nf_tables hook."""


class RoutingApplied(msgspec.Struct, frozen=True, kw_only=True):
    """What is there now."""

    families: tuple[str, ...]
    """"v4" and "v6", if the kernel has them."""
    rules: int
    routes: int


class Lay(msgspec.Struct, frozen=True, tag=True):
    """Make routing be what the plan says."""

    plan: RoutingPlan


class Lift(msgspec.Struct, frozen=True, tag=True):
    """Take away all that is ours."""


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Which of these addresses have no route?"""

    addresses: tuple[str, ...]


Errand = Lay | Lift | Ask


def faults(plan: RoutingPlan) -> list[str]:
    """Say everything that is wrong with a plan, all at once."""
    found = [f"more than {MAX_VIPS} networks of virtual IPs"] if len(plan.vips) > MAX_VIPS else []
    for vip in plan.vips:
        try:
            network = ipaddress.ip_network(vip, strict=False)
        except ValueError as wrong:
            found.append(str(wrong))
            continue
        if network.prefixlen == 0:
            found.append(f"{vip} is everything; a network of virtual IPs is smaller")
    return found
