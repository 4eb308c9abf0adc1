"""A port of a service in one worker, under everything that can happen to it: its books are always right."""

from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshtrio.address import Address
from meshtrio.balance.algorithm import NAMES
from meshtrio.balance.breaker import JITTER, PERMIT_S
from meshtrio.balance.breaker_table import WHOLE, Force
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.balance.port import Hold
from meshtrio.balance.ports import Ports, thresholds_of
from meshtrio.balance.verdict import REFUSED
from meshtrio.breaker_share import BreakerShare
from meshtrio.catalog.service import Endpoint, Service
from meshtrio.config.traffic import Breaker, ServiceLimits, Traffic
from meshtrio.outcome import Outcome

SHOP = Service("cart", "shop")
HALF_OPEN = 2
NAME = st.sampled_from("abcd")
BREAKERS = [
    Breaker(consecutive=2, open_s=3, open_max_s=6, half_open=HALF_OPEN, successes=2, slow_s=slow_s, minimum=2)
    for slow_s in (0, 1)
]
TRAFFIC = st.builds(
    Traffic,
    algorithm=st.sampled_from(NAMES),
    slow_start_s=st.sampled_from([0.0, 5.0]),
    limits=st.sampled_from([ServiceLimits(), ServiceLimits(per_endpoint=3)]),
    breaker=st.sampled_from([*BREAKERS, Breaker(enabled=False)]),
)


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.share = BreakerShare(Random(3), clock=lambda: self.now)
        self.ports = Ports(self.share.of, start=0, luck=Random(3))
        self.traffic = Traffic(breaker=BREAKERS[1], slow_start_s=0)
        self.ports.settle(self.traffic, "")
        self.there = {name: Endpoint(name, Address.of("10.0.0.1", 80)) for name in "abcd"}
        self.given = tuple(self.there.values())
        self.forced: dict[str, Force] = {}
        self.held: list[Hold] = []
        self.port = self.ports.of(SHOP, "http")

    @rule(wait_s=st.sampled_from([0.0, 0.5, 2.0, 8.0, PERMIT_S]))
    def time_passes(self, wait_s: float) -> None:
        self.now += wait_s

    @rule(
        key=st.none() | st.integers(0, 2**64 - 1),
        tried=st.frozensets(NAME, max_size=2),
        times=st.integers(1, 9),
    )
    def connect(self, key: int | None, tried: frozenset[str], times: int) -> None:
        for _ in range(times):
            hold = self.port.hold(self.given, self.now, key, tried)
            blocked = self.port.breakers.blocked(self.now)
            if hold is None:
                most = self.port.settings.limits.per_endpoint
                left = self.there.keys() - blocked - tried
                full = {name for name in left if most and self.port.balancer.members[name].active >= most}
                assert left == full, "somebody could be called"
                return
            assert hold._ticket != REFUSED
            assert hold.endpoint in self.given
            assert hold.endpoint.id not in tried
            self.held.append(hold)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99), then=st.sampled_from(["asked", "answered"]))
    def speak(self, which: int, then: str) -> None:
        getattr(self.held[which % len(self.held)], then)(self.now)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99), outcome=st.sampled_from(Outcome), times=st.integers(1, 6))
    def end(self, which: int, outcome: Outcome, times: int) -> None:
        for _ in range(min(times, len(self.held))):
            self.held.pop(which % len(self.held)).ended(outcome, self.now)

    @rule(traffic=TRAFFIC)
    def reload(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.ports.settle(traffic, "")
        assert self.ports.of(SHOP, "http") is self.port
        assert self.port.breakers.thresholds == thresholds_of(traffic.breaker)

    @rule(name=NAME)
    def leave(self, name: str) -> None:
        self.there.pop(name, None)
        self.given = tuple(self.there.values())

    @rule(name=NAME, host=st.integers(1, 3))
    def come(self, name: str, host: int) -> None:
        """Also back, under the same id and with another address, while connections to the old one go on."""
        self.there[name] = Endpoint(name, Address.of(f"10.0.0.{host}", 80))
        self.given = tuple(self.there.values())

    @rule(
        forced=st.dictionaries(
            st.sampled_from(["a", "b", WHOLE]), st.sampled_from(["open", "close"]), max_size=2
        )
    )
    def force(self, forced: dict[str, Force]) -> None:
        self.forced = forced
        self.port.breakers.obey(forced, self.now)

    @rule(name=NAME, failures=st.integers(0, 3), is_open=st.booleans())
    def hear(self, name: str, failures: int, is_open: bool) -> None:
        stand = Stand(self.now, is_open, self.now + 3, 1)
        self.port.breakers.learn({name: Counts(0, failures, 0, failures)}, {name: stand}, self.now)

    @invariant()
    def every_connection_is_counted_once(self) -> None:
        assert self.port.balancer.active == len(self.held)
        members: dict[str, Any] = dict(self.port.balancer.members)
        assert sum(member.active for member in members.values()) == len(self.held)
        assert not self.port.balancer.remarks["released_twice"]
        assert not self.port.balancer.remarks["algorithm_failed"]

    @invariant()
    def only_those_who_live_can_be_silent(self) -> None:
        assert set(self.port._unanswered) <= set(self.held)

    @invariant()
    def no_more_prove_than_may(self) -> None:
        for breaker in self.port.breakers.states(self.now).values():
            assert len(breaker.permits) <= max(HALF_OPEN, self.port.settings.breaker.half_open)

    def teardown(self) -> None:
        """All ends, all is well: nothing is held, and nobody is left out for ever."""
        for hold in self.held:
            hold.ended(Outcome.DRAINED, self.now)
        self.held = []
        self.every_connection_is_counted_once()
        assert not self.port._unanswered
        assert not any(one.permits for one in self.port.breakers.states(self.now).values())
        self.port.breakers.obey({}, self.now)
        self.reload(Traffic(breaker=BREAKERS[0], slow_start_s=0))
        self.there = {name: Endpoint(name, Address.of("10.0.0.1", 80)) for name in "abcd"}
        self.given = tuple(self.there.values())
        self.now += BREAKERS[0].open_max_s * (1 + JITTER)  # all four may have been open
        served = set()
        for _ in range(60):
            self.now += 1
            one = self.port.hold(self.given, self.now, None, ())
            assert one is not None
            served.add(one.endpoint.id)
            one.answered(self.now)
            one.ended(Outcome.CARRIED, self.now)
        assert served == set("abcd")
        assert self.port.breakers.states(self.now) == {}


TestLife = Life.TestCase
