"""Shell. What the agent says of one workload: where it is, how it is caught, how far it is accelerated."""

from meshtrio.accelerating import Accelerating
from meshtrio.intercept.workload import Workload


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
