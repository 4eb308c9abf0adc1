"""Shell. Calls of a service whose endpoints follow scripts: when each answers, and how.

The holds, their breakers and the budget are real ones, and so are the ends of connections. No dial is: their
moments could not be chosen. Real dials are in tests/test_hedging_calls.py.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import pytest
import trio
import trio.testing

from meshtrio import attempts
from meshtrio.address import Address
from meshtrio.attempts import Arrival, Call, Reached, Refused, reach_endpoint
from meshtrio.balance.hearsay import Stand
from meshtrio.balance.port import Port
from meshtrio.catalog.service import Endpoint
from meshtrio.channel import local_pair
from meshtrio.config.schema import Config, Timeouts
from meshtrio.config.traffic import Breaker, Retries, ServiceLimits, Traffic
from meshtrio.forward.relay import Relay
from meshtrio.interest import Interest
from meshtrio.messages import KnowBreakers
from meshtrio.outcome import Outcome
from meshtrio.route.decision import Kind, Route
from meshtrio.secure.border import Passage, Unsafe
from meshtrio.worker_site import Site
from tests.support.worker_side import SHOP, VIP, found

CONNECT_S, TRY_S = 10.0, 4.0
How = Literal["stands", "refuses", "is unsafe", "is our fault", "is a bug", "hangs"]


class Script(NamedTuple):
    """What an endpoint does, and so long after it was dialled."""

    how: How
    after_s: float = 0.0
    by_bell: bool = False
    """It is woken as by a socket: if another one wins at that moment, it is too late for a cancel."""


class Stage:
    """A call of a service whose endpoints follow scripts, e0 the first one, on a clock that jumps."""

    def __init__(self, *scripts: Script, retries: Retries, limits: ServiceLimits | None = None) -> None:
        pair: Any = local_pair()
        self.scripts = {f"e{number}": script for number, script in enumerate(scripts)}
        self.site = Site(Interest(pair[1]), Relay(), start=0)
        timeouts = Timeouts(connect_s=CONNECT_S, connect_try_s=TRY_S)
        breaker = Breaker(consecutive=1000, rate_percent=0, half_open=1)
        limits = limits or ServiceLimits()
        traffic = Traffic(retries=retries, breaker=breaker, limits=limits, slow_start_s=0)
        self.site.config = Config(timeouts=timeouts, traffic=traffic)
        self.site.ports.settle(traffic, "")
        self.found = found(*(Address.of(f"10.0.0.{number}", 80) for number in range(len(scripts))))
        self.port: Port = self.site.ports.of(self.found.service, "http")
        self.dialled: list[str] = []
        self.under_way: set[str] = set()
        self.most = self.failures = 0
        self.far: list[socket.socket] = []
        self.bells: dict[float, trio.Event] = {}
        self.called_off: trio.CancelScope | None = None
        """Cancelled with the first bell, for tests of that moment."""

    async def dial(
        self, _site: Site, _door: object, endpoint: Endpoint, _caller: object, *, race: object
    ) -> Passage:
        """Do what attempts._dial does, by the script."""
        await trio.lowlevel.checkpoint_if_cancelled()
        script = self.scripts[endpoint.id]
        self.dialled.append(endpoint.id)
        self.under_way.add(endpoint.id)
        self.most = max(self.most, len(self.under_way))
        near, far = socket.socketpair()
        self.far.append(far)
        try:
            with trio.move_on_after(TRY_S):
                if script.how == "hangs":
                    await trio.sleep_forever()
                if script.by_bell:
                    await self._bell(script.after_s).wait()
                else:
                    await trio.sleep(script.after_s)
                return self._answered(script.how, near)
            self.failures += 1
            raise Refused(Outcome.CONNECT_TIMEOUT, f"{endpoint.id} did not answer")
        except BaseException:
            near.close()
            raise
        finally:
            self.under_way.remove(endpoint.id)

    def _bell(self, after_s: float) -> trio.Event:
        at = trio.current_time() + after_s
        if at not in self.bells:
            self.bells[at] = trio.Event()
            trio.lowlevel.spawn_system_task(self._ring, at)
        return self.bells[at]

    async def _ring(self, at: float) -> None:
        await trio.sleep_until(at)
        self.bells[at].set()
        if self.called_off is not None:
            self.called_off.cancel()

    def _answered(self, how: How, near: socket.socket) -> Passage:
        match how:
            case "stands":
                return Passage(near)
            case "is our fault":
                raise Refused(Outcome.CONNECT_FAILED, "no socket", ours=True)
            case "is a bug":
                raise ZeroDivisionError
        self.failures += 1
        if how == "refuses":
            raise Refused(Outcome.CONNECT_FAILED, "refused")
        raise Unsafe(Outcome.UPSTREAM_TLS, "who is that?")

    async def call(self) -> Reached:
        entry = self.site.ledger.open("outbound", "ebpf", 0.0)
        route = Route(Kind.SERVICE, VIP, port="http", candidates=self.found.port.endpoints)
        door: Any = None
        client: Any = None
        arrival = Arrival(door, client, Address.of("10.9.9.9", 1), entry)
        return await reach_endpoint(self.site, arrival, Call(route, self.found, SHOP))

    def play(self, scene: Callable[[], Any]) -> Any:
        return trio.run(scene, clock=trio.testing.MockClock(autojump_threshold=0))

    def half_open(self) -> None:
        """Let every endpoint be due to prove itself."""
        news = {name: Stand(1.0, True, 2.0, 1) for name in self.scripts}
        self.site.breakers.learn(KnowBreakers("default/web:http", news, {}))

    def is_at_rest(self) -> bool:
        """Say whether everything was given back."""
        port = self.port
        held = [member.active for member in port.balancer.members.values()]
        permits = [one.permits for one in port.breakers.states(0.0).values() if one.permits]
        twice = port.balancer.remarks["released_twice"]
        return (port.pending, port.balancer.active, sum(held), permits, twice) == (0, 0, 0, [], 0)

    def blamed(self) -> int:
        """Say how many failures were told of endpoints."""
        return sum(one.run for one in self.port.breakers.states(0.0).values())

    def open_ends(self) -> int:
        """Say how many of the connections are open; nobody has sent a byte through any of them."""
        count = 0
        for far in self.far:
            far.setblocking(False)
            try:
                assert far.recv(1) == b""
            except BlockingIOError:
                count += 1
        return count


@contextmanager
def staged(*scripts: Script, hedge_after_s: float = 1.0, **more: Any) -> Iterator[Stage]:
    limits = more.pop("limits", None)
    retries = Retries(**{"budget_per_s": 1000, "base_s": 0, "max_s": 0, **more}, hedge_after_s=hedge_after_s)
    made = Stage(*scripts, retries=retries, limits=limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "_dial", made.dial)
        try:
            yield made
        finally:
            for far in made.far:
                far.close()


def reached(made: Stage) -> tuple[str, float]:
    """Make the call, end it well, and say where it stood and when. All must be at rest then."""

    async def scene() -> tuple[str, float]:
        began = trio.current_time()
        stands = await made.call()
        at = trio.current_time() - began
        assert stands.hold is not None
        assert made.open_ends() == 1
        where, address = stands.hold.endpoint.id, stands.hold.endpoint.address
        assert [entry.endpoint for entry in made.site.ledger] == [str(address)]
        stands.hold.ended(Outcome.CARRIED, 0.0)
        stands.upstream.close()
        return where, at

    try:
        result: tuple[str, float] = made.play(scene)
        return result
    finally:
        assert made.open_ends() == 0
        assert made.is_at_rest()
