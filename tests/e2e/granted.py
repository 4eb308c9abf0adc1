"""Shell. Workloads on a wire whose calls within the node need not pass us: who may, and who asks for it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.mesh import Mesh, Workload, service
from tests.support.namespace import Namespace
from tests.support.world import RIGHT, RIGHT6, VIP, VIP6, App, app, island, pod_cgroup, two_pods

CART = "spiffe://cluster.local/ns/shop/sa/cart"
ORDERS = "spiffe://cluster.local/ns/shop/sa/orders"
SERVED = (("web", RIGHT, 9080), ("web6", RIGHT6, 9080), ("local", "127.0.0.1", 9081))
LOCAL = 83
"""The port of a service on loopback of the server's own namespace."""
DIRECT = {"direct": "auto", "retries": {"attempts": 0}, "slow_start_s": 0}
STRICT = {"mode": "strict", "same_node": "kernel", "handshake_s": 1}
ALLOW = {"action": "allow", "name": "cart", "callers": {"ids": [CART]}}
POLICY = {"default": "deny", "rules": [ALLOW]}
IDENTITY = {"directory": "", "exec_identities": ["spiffe://cluster.local/ns/shop/*"], "drain_s": 1}
"""Whoever is revoked loses what it has a second later."""


class Scene(NamedTuple):
    mesh: Mesh
    cart: Workload
    """Asks for r5, and may call."""
    relayed: Workload
    """May call, and asks for nothing."""
    beside: Workload
    """In the server's own namespace; asks for r5, and may call."""
    server: Workload
    stranger: App
    """Not in the mesh, in the callers' namespace."""
    spaces: tuple[Namespace, Namespace]

    def path(self) -> str:
        """Return how the agent says that calls of the server go."""
        told = self.mesh.ask("GET", "/v1/services?name=web").body["services"]
        (port,) = next(one for one in told if one["name"] == "web")["ports"]
        return str(port["path"])

    def passes(self, who: Workload | None = None, vip: str = VIP, port: int = 80) -> bool:
        """Call the server; say whether the connection came to it without us."""
        before = self.mesh.hooks().get("passed_granted", 0)
        (who or self.cart).app.dial(vip, port)
        return bool(self.mesh.hooks().get("passed_granted", 0) > before)

    def ended_since(self, began: float, **like: Any) -> list[dict[str, Any]]:
        """Wait for a connection like this that began since, and return all of them."""

        def found() -> list[dict[str, Any]]:
            ended = self.mesh.wait_ended(1, **like)
            return [one for one in ended if one["began"] >= began]

        return list(self.mesh.wait(found))

    def revoke(self, *ids: str) -> None:
        """Let exactly these be revoked, and be known to be."""
        path = Path(self.mesh.settings["identity"]["revocations"])
        self.mesh.write(path, json.dumps({"revoked": [{"id": one} for one in ids]}))
        self.mesh.wait(lambda: self.mesh.status()["identity"]["revoked"] == len(ids))

    def configure(self, **settings: Any) -> None:
        """Let the running agent have these settings, and wait until it has."""
        wanted = {"mtls": STRICT, "policy": POLICY, "traffic": DIRECT, "rung_max": "r5", **settings}
        self.mesh.write_config(**wanted)
        self.mesh.wait(lambda: _is_like(self.mesh.ask("GET", "/v1/config").body, wanted))


def _is_like(has: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(_is_like(has[name], value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return len(has) == len(wanted) and all(map(_is_like, has, wanted))
    return bool(has == wanted)


def services() -> list[dict[str, Any]]:
    """Give the catalog: one service in each family, and one on loopback."""
    return [
        {**service("web", vips=[VIP]), "endpoints": [{"address": f"{RIGHT}:9080", "identity": ORDERS}]},
        {**service("web6", vips=[VIP6]), "endpoints": [f"[{RIGHT6}]:9080"]},
        service("local", "127.0.0.1:9081", port=LOCAL, vips=[VIP]),
    ]


@contextlib.contextmanager
def granted_scene(folder: Path, **settings: Any) -> Iterator[Scene]:
    """Have them, with strict modes and a policy that allows one identity only."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        left, right = stack.enter_context(two_pods())
        identity = {**IDENTITY, "revocations": str(folder / "revoked.json")}
        (folder / "revoked.json").write_text('{"revoked": []}')
        wanted = {"mtls": STRICT, "policy": POLICY, "traffic": DIRECT, "identity": identity, **settings}
        wanted |= {"on_agent_loss": "closed"}
        mesh = stack.enter_context(Mesh(home, rung="ebpf", services=services(), **wanted))

        def workload(word: str, space: Namespace, account: str, acceleration: str = "r5") -> Workload:
            return stack.enter_context(
                mesh.workload(
                    word,
                    space,
                    cgroup=str(stack.enter_context(pod_cgroup())),
                    namespace="shop",
                    service_account=account,
                    acceleration=acceleration,
                )
            )

        server = workload("server", right, "orders", "auto")
        for name, host, port in SERVED:
            server.app.listen(host, port, name)
        scene = Scene(
            mesh,
            workload("cart", left, "cart"),
            workload("relayed", left, "cart", "auto"),
            workload("beside", right, "cart"),
            server,
            stack.enter_context(app(left)),
            (left, right),
        )
        mesh.wait(lambda: scene.path() == "granted")
        yield scene
