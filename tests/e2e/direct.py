"""Shell. A mesh with direct services: what is asked for, who serves, and how a service's connections go."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.support.mesh import Mesh, Workload, service
from tests.support.world import VIP, VIP6, App, app, island

WEB = ("127.0.0.1:9080", "127.0.0.1:9081", "127.0.0.1:9082")
OTHER = {"service": "other", "direct": "off"}
DIRECT = {"direct": "auto", "retries": {"attempts": 0}, "slow_start_s": 0, "rules": [OTHER]}


class Scene(NamedTuple):
    mesh: Mesh
    shop: Workload
    server: App


def services(*endpoints: str) -> list[dict[str, Any]]:
    """Give the catalog: `web` with these endpoints, one of IPv6, and one that is not to be direct."""
    return [
        service("web", *endpoints, vips=[VIP]),
        service("web6", "[::1]:9083", vips=[VIP6]),
        service("other", "127.0.0.1:9084", vips=["10.96.0.11"]),
    ]


@contextlib.contextmanager
def direct_scene() -> Iterator[Scene]:
    """Have one workload, and a service with three endpoints that its callers may reach directly."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        mesh = stack.enter_context(Mesh(home, rung="ebpf", services=services(*WEB), traffic=DIRECT))
        shop = stack.enter_context(mesh.workload("shop"))
        server = stack.enter_context(app(home))
        for at, name in enumerate(("a", "b", "c")):
            server.listen("127.0.0.1", 9080 + at, name)
        server.listen("::1", 9083, "six")
        server.listen("127.0.0.1", 9084, "other")
        yield Scene(mesh, shop, server)


def way(mesh: Mesh, name: str) -> dict[str, Any]:
    """Return how the agent says that connections to a service go."""
    told = mesh.ask("GET", f"/v1/services?name={name}").body["services"]
    (port,) = next(one for one in told if one["name"] == name)["ports"]
    return {"path": port["path"], "why": port["why"]}
