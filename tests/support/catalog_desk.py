"""Shell. A hub with a catalog in it, and the agent's own applications over it on a real control socket.

The applications run in a trio loop of their own thread, so that commands can be run as users run them. Starts
no agent and no worker.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from meshtrio.address import Address
from meshtrio.admin.app import Answers, control_app
from meshtrio.admin.server import serve
from meshtrio.balance_answers import BalanceAnswers
from meshtrio.breaker_answers import BreakerAnswers
from meshtrio.breaker_board import BreakerBoard
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.probing import Result
from meshtrio.catalog.service import Endpoint, Health, Service, ServicePort
from meshtrio.catalog.vips import Vips
from meshtrio.catalog_answers import CatalogAnswers
from meshtrio.channel import local_pair
from meshtrio.config.schema import Config
from meshtrio.discover.hub import Hub
from meshtrio.fleet import Fleet, Seat, Subject, Told
from meshtrio.forward.relay import Relay
from meshtrio.identity_answers import IdentityAnswers
from meshtrio.intercept.workload import Spec
from meshtrio.interest import Interest
from meshtrio.messages import ToAgent, ToWorker
from meshtrio.questions import AskLoads, AskPick
from meshtrio.route.directness import Way
from meshtrio.web.router import Router
from meshtrio.worker_answers import answer
from meshtrio.worker_site import Site

NOW = 1_700_000_000.0


async def nobody(seat: Seat, message: Told) -> None:
    raise AssertionError("no worker was started")


class Worker(Seat):
    """A worker of which only the answers are here: those of a real site, as they come over the line."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        line: Any = local_pair()
        self.site = Site(Interest(line[1]), Relay(), start=number)
        self.site.luck.seed(number)
        self.silent = False
        self.ready.set()

    def tell(self, subject: Subject, message: ToWorker, descriptors: Sequence[int] = ()) -> None:
        heard: Any = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=ToWorker)
        if isinstance(heard, AskLoads | AskPick) and not self.silent:
            said = msgspec.msgpack.encode(answer(self.site, heard))
            self.reports[heard.number] = msgspec.msgpack.decode(said, type=ToAgent)


class Desk(Answers):
    """What answers about one catalog, and lets a test change it."""

    def __init__(self) -> None:
        self.hub = Hub(Merge(Vips()), lambda snapshot: None)
        self.probed: dict[tuple[str, Address], Result] = {}
        self.fleet = Fleet(2, nobody)
        self.config = Config()
        self.board = BreakerBoard(self.fleet, lambda: 1000.0)
        self._catalog = CatalogAnswers(self.hub, lambda: self.probed)

    @property
    def catalog(self) -> CatalogAnswers:
        return self._catalog

    @property
    def identity(self) -> IdentityAnswers:
        raise AssertionError("this desk answers about its catalog alone")

    @property
    def breakers(self) -> BreakerAnswers:
        return BreakerAnswers(self.board, lambda: self.hub.snapshot)

    @property
    def balance(self) -> BalanceAnswers:
        return BalanceAnswers(
            self.fleet, self.board, lambda: (self.hub.snapshot, self.config), lambda key, port: Way("relay")
        )

    def readiness(self) -> list[str]:
        return []

    async def metrics(self) -> bytes:
        return b""

    def status(self) -> Any:
        return {}

    def configuration(self) -> Any:
        return {}

    async def connections(self) -> Any:
        await trio.lowlevel.checkpoint()

    async def add_workload(self, spec: Spec) -> Any:
        await trio.lowlevel.checkpoint()

    async def remove_workload(self, name: str) -> Any:
        await trio.lowlevel.checkpoint()

    def seat(self, count: int = 2) -> list[Site]:
        """Let workers answer, and give what each of them shares."""
        seats = [Worker(number) for number in range(count)]
        self.fleet.seats[:] = seats
        for one in seats:
            one.site.settle(self.config)
        return [one.site for one in seats]

    def say(self, source: str, *services: Service, complete: bool = True) -> None:
        """Let a source say that there are these services, and publish it."""
        self.hub.sink(source).say({one.key: one for one in services}, complete=complete)
        self.hub.publish_now()

    def probes(self, key: str, address: Address, found: Health, text: str = "") -> None:
        """Let a probe find something, and publish it."""
        self.probed[key, address] = Result(found, NOW - 30, NOW - 1, text, 0.004)
        self.hub.probed(key, address, found)
        self.hub.publish_now()

    def lose(self, source: str, since: float) -> None:
        """Let a source be lost."""
        stream = self.hub.sink(source).stream("watch")
        stream.failed("the connection was refused", since)
        stream.since = since
        self.hub.merge.lose(source, lost=True)


def endpoint(host: str, port: int = 8080, **more: Any) -> Endpoint:
    """Make an endpoint that has not changed since an hour before NOW."""
    made: dict[str, Any] = {"id": host, "since": NOW - 3600, **more}
    return Endpoint(address=Address.of(host, port), **made)


def service(
    name: str, *endpoints: Endpoint, namespace: str = "default", vip: str = "", **more: Any
) -> Service:
    """Make a service with one port."""
    vips = (Address.of(vip, 0).ip,) if vip else ()
    return Service(name, namespace, vips, (ServicePort("http", 80, endpoints, "http"),), **more)


def shop() -> Desk:
    """Make a small catalog that has one of everything."""
    desk = Desk()
    orders = service(
        "orders",
        endpoint("10.0.0.1", zone="eu-1a", node="node-1", version="v1", meshed=True, weight=10),
        endpoint("10.0.0.2", zone="eu-1b", node="node-2", version="v1", health=Health.UNHEALTHY),
        endpoint("10.0.0.3", zone="eu-1b", node="node-2", version="v2", draining=True),
        endpoint("10.0.0.10", zone="eu-1a", identity="spiffe://mesh/ns/shop/sa/orders", labels=(("a", "b"),)),
        namespace="shop",
        vip="10.96.0.10",
    )
    desk.say(
        "kubernetes",
        orders,
        service("web", namespace="shop", headless=True),
        service("legacy", namespace="shop", external="legacy.example.com"),
    )
    desk.say("consul", service("web", endpoint("fd00::7"), namespace="default", vip="10.96.0.11"))
    desk.say("file", service("printer", endpoint("192.0.2.9", 631), vip="10.96.0.12"))
    pods = desk.hub.sink("kubernetes").stream("pods")
    pods.since = NOW - 7200
    pods.lives("48211", NOW - 7200)
    pods.heard(310, NOW - 12)
    pods.skips("shop/bad: port 99999 is no port")
    desk.hub.sink("file").stream("services.yaml").lives("", NOW - 7200)
    desk.hub.sink("file").stream("services.yaml").since = NOW - 7200
    desk.lose("consul", NOW - 245)
    desk.probes("shop/orders", Address.of("10.0.0.1", 8080), Health.HEALTHY, "200 OK")
    desk.probes("shop/orders", Address.of("10.0.0.10", 8080), Health.UNHEALTHY, "connection refused")
    desk.probes("shop/orders", Address.of("10.0.0.2", 8080), Health.UNHEALTHY, "no answer within 2 s")
    return desk


class Served:
    """A control socket in a thread of its own, which can go away and come back."""

    def __init__(self, desk: Desk, path: Path, app: Callable[[Answers], Router]) -> None:
        self._app = app(desk)
        self.path = path
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._thread = threading.Thread()

    def start(self) -> None:
        """Listen, and answer."""
        ready = threading.Event()
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=trio.run, args=(self._run, ready))
        self._thread.start()
        assert ready.wait(10)

    async def _run(self, ready: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with socket.socket(socket.AF_UNIX) as listener, self._scope:
            listener.bind(str(self.path))
            listener.listen(16)
            async with trio.open_nursery() as nursery:
                await nursery.start(serve, self._app, listener)
                ready.set()

    def stop(self) -> None:
        """Go away, with the socket's file."""
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def change(self, what: Callable[[], object]) -> None:
        """Change the desk, in the loop that answers."""
        assert self._token is not None
        trio.from_thread.run_sync(what, trio_token=self._token)


@contextlib.contextmanager
def served(desk: Desk, path: Path, app: Callable[[Answers], Router] = control_app) -> Iterator[Served]:
    """Answer on this control socket."""
    made = Served(desk, path, app)
    made.start()
    try:
        yield made
    finally:
        made.stop()
