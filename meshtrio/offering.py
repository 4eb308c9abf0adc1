"""Shell. What the workloads of this node serve, as others may dial it. Does not know who is told of it.

Only of workloads in the node's own network namespace: they are reached at the node's address. How others
reach a namespace of its own only whoever made it knows, and registers it if he wants it registered.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshtrio.intercept import cgroup
from meshtrio.intercept.listening import ports_of_processes
from meshtrio.intercept.workload import Workload


class Offered(NamedTuple):
    """One port that a workload serves. `id` is unique among all nodes."""

    id: str
    name: str
    port: int
    identity: str = ""
    """The SPIFFE ID that it shows; empty: it has none, and can only be called plainly."""


def offered(workloads: Iterable[Workload], node: str, ids: Mapping[str, str]) -> list[Offered]:
    """List the ports that were configured for them, and those on which they listen now for other machines.

    `ids` are the workloads' SPIFFE IDs, by name.
    """
    found = []
    for one in workloads:
        if one.site.netns.is_own:
            inside = cgroup.processes(one.cgroup) if one.cgroup else ()
            # Others would be told of a port that refuses them.
            listening = ports_of_processes(inside, loopback=False)
            found += [
                Offered(
                    f"meshtrio-{node}-{one.spec.name}-{port}",
                    one.spec.name,
                    port,
                    ids.get(one.spec.name, ""),
                )
                for port in sorted({*one.spec.ports} | listening)
            ]
    return found
