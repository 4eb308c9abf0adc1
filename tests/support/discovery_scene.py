"""Shell. One agent that follows Kubernetes, Consul, DNS, a file and registrations at once, in a namespace.

Services that one of them speaks of, and one that three of them do. Every address of 10.1.0.0/16 is
here, and serves pages at port 8080.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import kubernetes_objects as objects
from tests.support.kubernetes_side import kubeconfig
from tests.support.mesh import Mesh
from tests.support.namespace import Namespace
from tests.support.pages import pages
from tests.support.registries import Consul, Kubernetes, Nameserver, consul, kubernetes, nameserver
from tests.support.world import ROOT, App, island, unique

KUBERNETES_TOKEN, CONSUL_TOKEN = "kubernetes-secret-4711", "consul-secret-4712"
WRONG_TOKEN = "wrong-secret-4713"
CONSUL_IP = "10.8.0.1"
"""Where the agent asks Consul, and nobody else does: so the way there can be cut."""
ORDERS, CHECKED, LADDER = "10.96.0.10", "10.96.0.20", "10.96.0.30"
"""Virtual IPs of the services in Kubernetes."""
SETTLED_S = 5.0
"""How soon after healing the truth must be known."""
ACL = {"enabled": True, "default_policy": "deny", "tokens": {"master": CONSUL_TOKEN}}
CHECK = {"interval_s": 0.3, "timeout_s": 1.0, "rise": 2, "fall": 2}
HEALTH_CHECKS = [
    {"service": "checked", "type": "http", **CHECK},
    {"service": "ladder", "type": "tcp", **CHECK},
]


class Scene(NamedTuple):
    """All of it. `shop` is a program in the mesh, `town` one outside of it that serves all pages."""

    mesh: Mesh
    api: Kubernetes
    consul: Consul
    names: Nameserver
    shop: App
    town: App
    folder: Path
    told: list[str]
    """What was told of the sources all the while, as text."""

    @property
    def space(self) -> Namespace:
        return self.mesh.space

    # What is said to Kubernetes

    def slices(self, name: str, *ips: str, port: int = 8080) -> None:
        """Let a service in Kubernetes have these endpoints."""
        one = objects.slice_of(name, ips)
        one["ports"][0]["port"] = port
        self.api.put("endpointslices", one)

    # What the agent says

    def discovery(self) -> dict[str, Any]:
        """Return what `meshtrio discovery --json` shows."""
        found: dict[str, Any] = self.mesh.ask("GET", "/v1/discovery").body
        self.told.append(json.dumps(found))
        return found

    def command(self, *words: str) -> str:
        """Run `meshtrio ...` against this agent, and return what it printed."""
        argv = [sys.executable, "-m", "meshtrio", *words, "--control", str(self.mesh.control)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT, timeout=20)
        self.told.append(done.stdout + done.stderr)
        return done.stdout

    def source(self, name: str) -> dict[str, Any]:
        """Return what is said of one source."""
        return next(one for one in self.discovery()["sources"] if one["source"] == name)

    def is_lost(self, source: str) -> bool:
        return bool(self.source(source)["state"] == "lost")

    def service(self, name: str) -> dict[str, Any]:
        """Return what is said of one service of "default"; nothing: it is not known."""
        answer = self.mesh.ask("GET", f"/v1/services/default/{name}")
        return answer.body if answer.status == 200 else {}

    def level(self, name: str) -> str:
        return str(self.service(name).get("level"))

    def ready(self, name: str) -> set[str]:
        """Say which endpoints of a service get new connections, by their IP."""
        answer = self.mesh.ask("GET", f"/v1/endpoints?service={name}")
        if answer.status != 200:
            return set()
        return {one["address"].rpartition(":")[0] for one in answer.body["endpoints"] if one["ready"]}

    def truth(self, name: str, *ips: str, within_s: float = SETTLED_S) -> float:
        """Wait until just these endpoints get new connections, and say when they did."""
        began = time.monotonic()
        try:
            self.mesh.wait(lambda: self.ready(name) == set(ips), within_s)
        except AssertionError as vain:
            raise AssertionError(f"{name}: {self.ready(name)}\n{self.discovery()}") from vain
        print(f"  {name}: the truth after {time.monotonic() - began:.2f} s")
        return time.monotonic()

    def wait(self, true: Callable[[], Any], wait_s: float = 5) -> Any:
        try:
            return self.mesh.wait(true, wait_s)
        except AssertionError as vain:
            raise AssertionError(f"{vain}\n{self.discovery()}") from None


def discovery(folder: Path, consul_port: int) -> dict[str, Any]:
    """Configure all sources but the file."""
    return {
        "kubernetes": {"enabled": True, "kubeconfig": str(folder / "kubeconfig")},
        "consul": {
            "address": f"http://{CONSUL_IP}:{consul_port}",
            "token_file": str(folder / "consul-token"),
        },
        "dns": [{"name": "shelf", "host": "shelf.example.com", "port": 80}],
        "registration": {"state": str(folder / "state.db")},
    }


def entry(name: str, *endpoints: str) -> dict[str, Any]:
    """Describe a service for the catalog file, which is given a virtual IP."""
    return {"name": name, "ports": [{"name": "http", "port": 80}], "endpoints": list(endpoints)}


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Begin with everything but the right token for Consul, which refuses the agent."""
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(island())
        for cidr in ("10.1.0.1/16", f"{CONSUL_IP}/32", f"{ORDERS}/24"):
            space.add_address(cidr, "lo")
        town = stack.enter_context(pages(space))
        town.tell("serve", host="0.0.0.0", port=8080)
        # Whoever is not carried meets the virtual IP itself.
        town.tell("serve", host="0.0.0.0", port=80)
        names = stack.enter_context(nameserver(space, "127.0.0.1", **{"shelf.example.com": "10.1.8.1"}))
        api = stack.enter_context(kubernetes(space))
        api.take_tokens(KUBERNETES_TOKEN)
        listens = f"127.0.0.1 {CONSUL_IP}"
        cart_keeper = stack.enter_context(
            consul(space, folder, token=CONSUL_TOKEN, client_addr=listens, acl=ACL)
        )
        user = {"token": KUBERNETES_TOKEN}
        kubeconfig(folder / "kubeconfig", f"http://127.0.0.1:{api.port}", user)
        (folder / "consul-token").write_text(WRONG_TOKEN)
        mesh = Mesh(
            space,
            rung="ebpf",
            services=[entry("ladder", "10.1.5.3:8081"), entry("shed", "10.1.3.1:8080")],
            discovery=discovery(folder, cart_keeper.port),
            dns={"servers": ["127.0.0.1"]},
            health_checks=HEALTH_CHECKS,
        )
        stack.enter_context(mesh)
        name = unique("shop")
        answer = mesh.add(name)
        assert answer.status == 201, answer
        stack.callback(_removed, mesh, name)
        shop = stack.enter_context(pages(space, answer.body["cgroup"]))
        made = Scene(mesh, api, cart_keeper, names, shop, town, folder, [])
        _fill(made)
        yield made


def _removed(mesh: Mesh, name: str) -> None:
    with contextlib.suppress(OSError):  # the agent may have ended
        mesh.remove(name)


def _fill(made: Scene) -> None:
    for name, ip in (("orders", ORDERS), ("checked", CHECKED), ("ladder", LADDER)):
        made.api.put("services", objects.service(name, ip))
    made.slices("orders", "10.1.1.1", "10.1.1.2")
    made.slices("checked", "10.1.2.1", "10.1.2.2")
    made.slices("ladder", "10.1.5.1", port=8081)
    for ip in ("10.1.4.1", "10.1.4.2"):
        made.consul.register("carts", ip, port=80)
    made.consul.register("ladder", "10.1.5.2", port=8081)
    for ip in ("10.1.5.1", "10.1.5.2", "10.1.5.3"):
        made.town.tell("serve", host=ip, port=8081)
