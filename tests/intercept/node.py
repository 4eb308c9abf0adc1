"""Shell. The workloads of a node without agent and workers: the test accepts at doors, and looks around."""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from meshtrio.address import Address
from meshtrio.intercept.capture import EbpfCapture
from meshtrio.intercept.catcher import Catcher, Told
from meshtrio.intercept.cgroup import remove
from meshtrio.intercept.dns_door import DnsDoor
from meshtrio.intercept.doors import Doors
from meshtrio.intercept.kernel import Kernel
from meshtrio.intercept.layout import BEAT_OF_RESOLVER
from meshtrio.intercept.original_dst import original_destination
from meshtrio.intercept.registry import Registry
from meshtrio.intercept.tables import Destinations, Heartbeat
from meshtrio.intercept.workload import Rules, Spec, Workload
from meshtrio.messages import CloseDoor, KnowWorkload, OpenDoor
from tests.bpf.app import App, Failed, app_in
from tests.bpf.names import Resolver
from tests.bpf.pod import HERE, HERE6, VIP, VIP6, waiting
from tests.intercept.hooks import attached, lookups
from tests.support.namespace import Namespace
from tests.support.namespace_door import cgroup

RUNGS = ("ebpf", "nft")
ELSEWHERE = "10.9.9.9"
"""An address of the pod that no service has: who is caught no more reaches a listener there."""


class Node:
    """A registry, and what it told the workers."""

    def __init__(self, kernel: Kernel | None, **rules: Any) -> None:
        self.kernel = kernel
        self.told: list[Told] = []
        self.resolving = True
        # Showing callers takes two more children a workload; tests of that say so.
        usual = {
            "rung": "auto",
            "outbound_port": 0,
            "inbound_port": 0,
            "any_port": True,
            "show_callers": False,
        }
        held = Rules(**usual | rules)  # type: ignore[arg-type]
        self.resolvers: dict[str, Resolver] = {}
        self.catcher = Catcher(
            held, tell=self._tell, dns_opened=self._dns_opened, dns_closed=self._dns_closed
        )
        self.catcher.use(kernel, "" if kernel else "no kernel in this test")
        self.registry = Registry(self.catcher)

    def _tell(self, message: Told, descriptors: list[int]) -> None:
        if isinstance(message, OpenDoor):
            assert len(descriptors) == 1 + message.listeners
        self.told.append(message)

    def _dns_opened(self, door: DnsDoor) -> None:
        self.resolvers[door.workload] = Resolver(door)

    def _dns_closed(self, door: DnsDoor) -> None:
        self.resolvers.pop(door.workload).stop()

    def doors(self) -> dict[int, OpenDoor]:
        """Return the doors that workers have open."""
        opened: dict[int, OpenDoor] = {}
        for message in self.told:
            match message:
                case OpenDoor():
                    assert message.door not in opened
                    opened[message.door] = message
                case CloseDoor(door=door):
                    del opened[door]
        return opened

    def names(self) -> dict[int, str]:
        """Return the names of workloads that workers know by a word of their own."""
        known: dict[int, str] = {}
        for message in self.told:
            if isinstance(message, KnowWorkload):
                known[message.workload.id] = message.workload.name
        return {number: name for number, name in known.items() if name}

    async def take_away(self, name: str) -> None:
        assert await self.registry.remove(await self.registry.catch_no_more(name))

    def beat(self) -> None:
        assert self.kernel
        Heartbeat(self.kernel.maps["heartbeat"]).beat()
        if self.catcher.rules.dns and self.resolving:
            Heartbeat(self.kernel.maps["heartbeat"], BEAT_OF_RESOLVER).beat()


def _beat_until(made: Node, ended: threading.Event) -> None:
    while not ended.wait(0.5):
        made.beat()


@contextlib.asynccontextmanager
async def node(kernel: Kernel | None, **rules: Any) -> AsyncIterator[Node]:
    """Have a node; all its workloads are taken away, and nothing that workers know is left."""
    made = Node(kernel, **rules)
    # A thread beats, because what a test waits for may take longer than the hooks' patience of 3 s.
    ended = threading.Event()
    beating = threading.Thread(target=_beat_until, args=(made, ended))
    try:
        if kernel:
            made.beat()
            beating.start()
        yield made
    finally:
        ended.set()
        if kernel:
            beating.join()
        for one in made.registry:
            await made.take_away(one.spec.name)
        for resolver in made.resolvers.values():
            resolver.stop()
    assert made.resolvers == {}
    assert made.doors() == {}
    assert made.names() == {}
    assert made.registry._sites == {}


class Place(NamedTuple):
    """A namespace, a cgroup, and a process in both."""

    space: Namespace
    group: Path
    app: App

    def spec(self, name: str = "shop", **more: Any) -> Spec:
        return Spec(name=name, cgroup=str(self.group), netns=path_of(self.space), **more)

    def remains(self) -> list[str]:
        """Say what of ours is there: hooks, rules, routes."""
        found = [f"hook {name}" for name in attached(self.group)] if self.group.exists() else []
        return found + remains(self.space)

    def caught(self, workload: Workload, host: str, port: int = 80) -> Address | None:
        """Dial, and return what the outbound door was told of it; None if nobody came there."""
        with contextlib.suppress(Failed):
            self.app.do(
                "kept = tcp(host); kept.settimeout(0.5); kept.connect((host, port))", host=host, port=port
            )
        return origin_at(workload, workload.capture.outbound, outbound=True)


def path_of(space: Namespace) -> str:
    return f"/proc/self/task/{space.tid}/ns/net"


def remains(space: Namespace) -> list[str]:
    found = [f"lookup {number}" for number in lookups(space.fd)]
    found += [
        f"rule {line}" for line in space.command("nft", "list", "tables").splitlines() if "mesh" in line
    ]
    for words in (
        ("rule",),
        ("-6", "rule"),
        ("route", "show", "table", "all"),
        ("-6", "route", "show", "table", "all"),
    ):
        lines = space.ip(*words).splitlines()
        found += [f"routing {line}" for line in lines if "1500" in line or "proto 77" in line]
    return found


def listen(place: Place, port: int, host: str = "") -> None:
    place.app.do(
        "listener = socket.create_server((host or '0.0.0.0', port)); keep = globals().setdefault('keep', [])"
        "; keep.append(listener)",
        host=host,
        port=port,
    )


def origin_at(workload: Workload, doors: Doors, *, outbound: bool) -> Address | None:
    """Accept at doors whoever waits, and return what was dialled."""
    for door in doors.sockets:
        if waiting(door, 0.05):
            client, peer = door.accept()
            with client:
                if workload.rung == "nft":
                    return original_destination(client)
                if not outbound:
                    return Address.of(*client.getsockname()[:2])
                assert isinstance(workload.capture, EbpfCapture)
                source = Address.of(*peer[:2])
                destinations = Destinations(workload.capture._kernel.maps["destinations"])
                taken = destinations.take(workload.site.netns.id, source, client.getsockname()[1])
                return taken.destination if taken else None
    return None


def caught_inbound(workload: Workload, space: Namespace, host: str, port: int) -> Address | None:
    """Dial from outside of the workload, and return what the inbound door was told; None if nobody came."""
    doors = workload.site.inbound if workload.rung == "ebpf" else workload.capture.inbound  # type: ignore[union-attr]
    assert doors
    with space.tcp_socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as stranger:
        stranger.settimeout(0.5)
        with contextlib.suppress(OSError):
            stranger.connect((host, port))
        return origin_at(workload, doors, outbound=False)


@contextlib.contextmanager
def another_place(space: Namespace) -> Iterator[Place]:
    """Have one more workload's place in this namespace."""
    with cgroup() as group, app_in(space, group) as app:
        app.do("said = 1")  # it has entered its cgroup then
        yield Place(space, group, app)


@contextlib.contextmanager
def a_place(*, routed: bool = True) -> Iterator[Place]:
    """Have a namespace with a few addresses, where anything can be dialled, and one place in it."""
    with Namespace() as space:
        for address in (f"{HERE}/32", f"{HERE6}/128", f"{ELSEWHERE}/32"):
            space.add_address(address, "lo")
        if routed:
            space.route_everything()
        with another_place(space) as place:
            yield place


@contextlib.contextmanager
def a_unit(place: Place, group: Path) -> Iterator[Place]:
    """Run a process in a cgroup that is made for it and goes with it, as systemd does with a unit."""
    group.mkdir()
    with app_in(place.space, group) as app:
        app.do("said = 1")  # it has entered its cgroup then
        yield Place(place.space, group, app)
    assert remove(group, patience_s=10)


__all__ = ["ELSEWHERE", "HERE", "HERE6", "RUNGS", "VIP", "VIP6", "Node", "Place", "node"]
