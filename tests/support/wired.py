"""Shell. Two places with a wire between them, and services by which one end calls programs on the other.

They are carried by mutual TLS between two workloads, in the clear, or direct. The words that run a command at
either end are a prefix, so that programs need not know any of this.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.mesh import Mesh, service
from tests.support.namespace import Namespace
from tests.support.world import RIGHT, RIGHT6, VIP, VIP6, island, pod_cgroup, two_pods

PORTS = (9000, 9001)
"""Of the service, and of its endpoint."""
HOSTS = {VIP: RIGHT, VIP6: RIGHT6}
SERVER_ID = "spiffe://cluster.local/ns/shop/sa/server"
MUTUAL: dict[str, Any] = {
    "identity": {"directory": "", "exec_identities": ["spiffe://cluster.local/ns/shop/*"]},
    "mtls": {"mode": "strict"},
}
DIRECT: dict[str, Any] = {"traffic": {"direct": "auto", "retries": {"attempts": 0}}}


class Wired(NamedTuple):
    """A mesh, and the words by which a command is run at either end of the wire."""

    mesh: Mesh
    client: Sequence[str]
    server: Sequence[str]


WAYS = ("mtls-ebpf", "mtls-nft", pytest.param("direct", marks=pytest.mark.rung("r1d")))


def wired(way: str) -> contextlib.AbstractContextManager[Wired]:
    """Have one of WAYS."""
    return direct() if way == "direct" else mutual(way.removeprefix("mtls-"))


@contextlib.contextmanager
def mutual(rung: str, **settings: Any) -> Iterator[Wired]:
    """Have two workloads, of which the server takes nothing but mutual TLS."""
    with contextlib.ExitStack() as stack:
        mesh, pods = _mesh(stack, rung, server_id=SERVER_ID, **MUTUAL, **settings)
        for name, (space, group) in pods.items():
            ports = PORTS if name == "server" else ()
            account = {"namespace": "shop", "service_account": name}
            stack.enter_context(mesh.workload(name, space, cgroup=str(group), ports=ports, **account))
        yield Wired(mesh, _words(*pods["client"]), _words(*pods["server"]))


def direct() -> contextlib.AbstractContextManager[Wired]:
    """Have one workload, whose connections the kernel leads straight to a server that is in no mesh."""
    return plain("ebpf", **DIRECT)


@contextlib.contextmanager
def plain(rung: str, **settings: Any) -> Iterator[Wired]:
    """Have one workload, whose connections are relayed in the clear to a server that is in no mesh."""
    with contextlib.ExitStack() as stack:
        mesh, pods = _mesh(stack, rung, **settings)
        space, group = pods["client"]
        stack.enter_context(mesh.workload("client", space, cgroup=str(group)))
        yield Wired(mesh, _words(space, group), _words(*pods["server"]))


def _mesh(
    stack: contextlib.ExitStack, rung: str, *, server_id: str = "", **settings: Any
) -> tuple[Mesh, dict[str, tuple[Namespace, Path]]]:
    """Make both places, and a mesh that knows each port of the server in both families."""
    home = stack.enter_context(island())
    spaces = stack.enter_context(two_pods())
    pods = {
        name: (space, stack.enter_context(pod_cgroup()))
        for name, space in zip(("client", "server"), spaces, strict=True)
    }
    services = [
        {
            **service(f"port-{port}-{number}", port=port, vips=[vip]),
            "endpoints": [{"address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"} | known],
        }
        for known in [{"identity": server_id} if server_id else {}]
        for number, (vip, host) in enumerate(HOSTS.items())
        for port in PORTS
    ]
    return stack.enter_context(Mesh(home, rung=rung, services=services, **settings)), pods


def _words(space: Namespace, group: Path) -> Sequence[str]:
    """Give the words that run a command in this namespace and this cgroup."""
    netns = f"--net=/proc/{os.getpid()}/task/{space.tid}/ns/net"
    return ["nsenter", netns, "sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group)]
