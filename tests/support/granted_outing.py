"""Shell. Put two commands into one mesh, as workloads of which one may call the other past us."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.mesh import Mesh
from tests.support.namespace import Namespace
from tests.support.outing import services_of
from tests.support.world import island, pod_cgroup, two_pods, unique

Address = tuple[str, int]

SETTINGS: dict[str, Any] = {
    "mtls": {"mode": "strict", "same_node": "kernel"},
    "traffic": {"direct": "auto", "retries": {"attempts": 0}},
    "identity": {"directory": "", "exec_identities": ["spiffe://cluster.local/ns/outing/*"]},
    "on_agent_loss": "closed",
}


class Granted(NamedTuple):
    """The words that run a command as either of them, any number of times."""

    mesh: Mesh
    routes: dict[Address, Address]
    caller: list[str]
    called: list[str]

    def serve(self) -> None:
        """Have the services from now on, when there is somebody who serves them: the caller may go there."""
        # Who begins to listen later is noticed some seconds later.
        self.mesh.write_services(*services_of(self.routes))

        def paths() -> set[str]:
            told = self.mesh.ask("GET", "/v1/services").body["services"]
            return {port["path"] for one in told for port in one["ports"]}

        self.mesh.wait(lambda: paths() == {"granted"})

    def passed(self) -> int:
        """Return how many connections went past us. AssertionError if there were others."""
        hooks = self.mesh.hooks()
        assert not {"redirected", "stopped_astray", "missed_member"} & hooks.keys(), hooks
        assert {one["path"] for one in (*self.mesh.live(), *self.mesh.ended())} <= {"direct"}
        # What comes too late for its connection is looked up once more, and let through to be refused.
        assert hooks["passed_granted"] >= hooks["direct"], hooks
        return hooks["direct"]


@contextlib.contextmanager
def granted_prefixes(routes: dict[Address, Address], *, apart: bool) -> Iterator[Granted]:
    """Have the mesh until the block ends; `routes` are dialled address -> endpoint, as in outing.py.

    Apart: each in a namespace of its own (world.LEFT calls, world.RIGHT serves). Else both are in one.
    """
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        here, there = stack.enter_context(two_pods()) if apart else (home, home)
        mesh = stack.enter_context(Mesh(home, rung="ebpf", **SETTINGS))

        def words(word: str, space: Namespace, acceleration: str) -> list[str]:
            group = stack.enter_context(pod_cgroup())
            netns = f"/proc/{os.getpid()}/task/{space.tid}/ns/net"
            name, who = unique(word), {"namespace": "outing", "service_account": word}
            added = mesh.add(name, netns=netns, cgroup=str(group), acceleration=acceleration, **who)
            assert added.status == 201, added
            stack.callback(mesh.remove, name)
            return entering(netns, group)

        yield Granted(mesh, routes, words("caller", here, "r5"), words("called", there, "auto"))


def entering(netns: str, group: Path) -> list[str]:
    """Give the words that run a command in a namespace and a cgroup; the process stays the same."""
    return ["nsenter", f"--net={netns}", "sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
