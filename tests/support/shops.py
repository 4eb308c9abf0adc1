"""Shell. Services of three servers in a mesh with two workers: each server a process that can fail by itself.

Each service has a name and a port of its own, so that no breaker is known from before.
"""

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.support.mesh import Mesh, service
from tests.support.world import VIP, App, app, island

CONSECUTIVE, HALF_OPEN, WORKERS = 3, 2, 2
BREAKER = {"consecutive": CONSECUTIVE, "half_open": HALF_OPEN, "successes": 2, "open_s": 30}
TRAFFIC: dict[str, Any] = {"slow_start_s": 0, "breaker": BREAKER}
TIMEOUTS = {"connect_s": 3, "connect_try_s": 0.3, "idle_s": 30}
RESET = {"ECONNRESET", "ENOTCONN"}
"""The second one if the reset was there before getpeername() asked."""

_ports = itertools.count(8100)


class Shop(NamedTuple):
    """One service of one test: who calls, and who serves."""

    mesh: Mesh
    client: App
    name: str
    port: int
    at: dict[str, str]
    """Each server's address, by its name."""
    apps: dict[str, App]

    def burst(self, times: int, **how: Any) -> Counter[str]:
        """Call so often, one after the other, and count who answered or what went wrong."""
        return Counter(self.client.burst(times, VIP, self.port, **how))

    def catalog(self, *names: str, **words: Any) -> None:
        """Let the service have these endpoints, and wait until the workers were told."""
        before = self.mesh.status()["catalog"]["version"]
        one = service(self.name, *(self.at[name] for name in names), vips=[VIP], port=self.port)
        self.mesh.write_services({**one, "traffic": {**TRAFFIC, **words}})
        self.mesh.wait(lambda: self.mesh.status()["catalog"]["version"] > before)

    def serve(self, name: str, kind: str = "greet") -> None:
        """Let a server listen."""
        host, _, port = self.at[name].partition(":")
        self.apps[name].listen(host, int(port), name, kind)

    def breakers(self) -> dict[str, str]:
        """Say how the breakers are that were ever open, by server."""
        rows = self.mesh.ask("GET", "/v1/breakers").body["breakers"]
        names = {address: name for name, address in self.at.items()} | {"": "all"}
        return {names[one["address"]]: one["state"] for one in rows if one["service"] == self.name}

    def turns(self, name: str, kind: str) -> None:
        """Let a server be another one from now on, at the same address."""
        self.apps[name].tell("listen_no_more", name=name)
        self.serve(name, kind)

    def settles(self, **wanted: str) -> None:
        """Wait until the agent knows the breakers to be so, and let the workers hear of it, too."""
        self.mesh.wait(lambda: self.breakers() == wanted)
        time.sleep(0.2)


@contextlib.contextmanager
def standing(**settings: Any) -> Iterator[tuple[Mesh, App]]:
    """A mesh with two workers, and a client in it."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(island())
        mesh = Mesh(home, rung="ebpf", workers=WORKERS, timeouts=TIMEOUTS, **settings)
        stack.enter_context(mesh)
        yield mesh, stack.enter_context(mesh.workload("client")).app


@contextlib.contextmanager
def open_shop(mesh: Mesh, client: App, kind: str = "greet", **traffic: Any) -> Iterator[Shop]:
    """Begin a service with three servers, each a process of its own."""
    port = next(_ports)
    at = {name: f"127.0.0.1:{port + number}" for number, name in ((1000, "a"), (1200, "b"), (1400, "c"))}
    with contextlib.ExitStack() as stack:
        apps = {name: stack.enter_context(app(mesh.space)) for name in at}
        shop = Shop(mesh, client, f"shop{port}", port, at, apps)
        for name in at:
            shop.serve(name, kind)
        shop.catalog(*at, **traffic)
        yield shop
