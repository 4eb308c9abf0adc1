"""Shell. The numbers of direct services and connections: for `meshtrio status`, and as metrics."""

from collections.abc import Mapping

from meshtrio.direct_keeper import DirectKeeper
from meshtrio.observe.sums import Gauge
from meshtrio.udp_keeper import UdpKeeper


def summaries(keeper: DirectKeeper, udp: UdpKeeper) -> dict[str, dict[str, int]]:
    """Return the numbers of both by name; `no_room` counts services by TCP, and addresses by UDP."""
    carried = list(keeper.maps.carried().values()) if keeper.maps is not None else []
    return {
        "direct": {
            "services": keeper.count,
            "active": sum(max(0, one.active) for one in carried),
            "connections": sum(one.connections for one in carried),
            "failed": sum(one.failed for one in carried),
            "no_room": keeper.full,
            "grants": keeper.maps.grants.count if keeper.maps is not None else 0,
        },
        "udp": {"services": len(udp.used), "flows": udp.flows, "no_room": udp.full},
    }


def gauges(direct: Mapping[str, int], udp: Mapping[str, int]) -> list[Gauge]:
    """Return what a summary says of both."""
    return [
        Gauge(
            "meshtrio_direct_services", "Services whose callers go to endpoints directly", direct["services"]
        ),
        Gauge("meshtrio_direct_active", "Direct connections that live", direct["active"]),
        Gauge("meshtrio_direct_no_room", "Services relayed only because maps are full", direct["no_room"]),
        Gauge("meshtrio_direct_grants", "Workloads and services that they may go to", direct["grants"]),
        Gauge("meshtrio_udp_services", "UDP services for which the kernel picks", udp["services"]),
        Gauge("meshtrio_udp_flows", "Flows that began at members that serve now", udp["flows"]),
        Gauge("meshtrio_udp_no_room", "UDP addresses left alone as maps are full", udp["no_room"]),
    ]
