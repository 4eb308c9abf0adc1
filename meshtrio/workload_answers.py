"""Shell. What the agent says of one workload: where it is, how it is caught, how far it is accelerated."""

import msgspec

from meshtrio.accelerating import Accelerating
from meshtrio.intercept import nft
from meshtrio.intercept.registry import Registry
from meshtrio.intercept.workload import Workload, WorkloadError


def described(one: Workload, accelerating: Accelerating) -> dict[str, object]:
    """Return what is shown of one workload."""
    accelerated = accelerating.workload(one)
    return {
        "name": one.spec.name,
        "namespace": one.spec.namespace,
        "service_account": one.spec.service_account,
        "id": one.id,
        "rung": one.rung,
        "why": one.why,
        "lost": one.lost,
        "acceleration": one.spec.acceleration,
        "accelerated": accelerated.rung,
        "why_no_faster": accelerated.why,
        "dns_port": one.dns.port if one.dns else 0,
        "why_no_dns": one.why_no_dns,
        "cgroup": str(one.cgroup or ""),
        "netns": one.spec.netns or "own",
        "netns_id": one.site.netns.id,
        "outbound_port": one.capture.outbound.port,
        "inbound_port": one.inbound_port,
        "on_agent_loss": one.spec.on_agent_loss,
        "source_address": "caller" if one.site.transparent else "fixed",
        "pid": one.spec.pid,
    }


async def rules(registry: Registry, name: str) -> dict[str, object]:
    """Return the rules of a workload in the kernel, each with what it has counted; none on eBPF.

    In nat chains only the first packet of a connection is counted. WorkloadError if there is no such
    workload, NftRefused if its rules cannot be read.
    """
    workload = registry.get(name)
    if workload is None:
        raise WorkloadError(f"workload {name} is not known")
    if workload.rung != "nft":
        return {"rung": workload.rung, "rules": []}
    counted = await nft.counters(name, workload.site.descriptor)
    return {
        "rung": workload.rung,
        "rules": [{"rule": rule, **msgspec.structs.asdict(count)} for rule, count in counted.items()],
    }
