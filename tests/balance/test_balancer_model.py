"""A balancer against a model: endpoints come, go, fall ill and recover, breakers open and close, time passes,
settings are switched, and connections begin and end in between."""

from random import Random
from typing import Any

import hypothesis
import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshtrio.balance.algorithm import NAMES
from meshtrio.balance.balancer import WEIGHTLESS, Balancer
from meshtrio.balance.eligible import Tier
from meshtrio.balance.member import Member
from meshtrio.catalog.service import Endpoint, Health
from meshtrio.config.traffic import ServiceLimits, Settings
from tests.support.endpoints import Switches, endpoint

NAMED = st.sampled_from("abcdefghijkl")


class Traffic(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.switches = Switches()
        self.blocked: set[str] = set()
        self.there: dict[str, Endpoint] = {}
        self.given: tuple[Endpoint, ...] = ()
        self.now = 1000.25
        self.settings, self.zone = Settings(), ""
        self.balancer = Balancer(self.settings, self.switches, zone="", start=0, luck=Random(5))
        self.held: list[Member] = []

    def _put(self) -> None:
        self.given = tuple(self.there.values())

    @rule(
        name=NAMED,
        words=st.fixed_dictionaries(
            {
                "weight": st.sampled_from([0, 1, 1, 3]),
                "zone": st.sampled_from(["x", "x", "y"]),
                "health": st.sampled_from([Health.HEALTHY, Health.HEALTHY, Health.UNHEALTHY, Health.WARNING]),
                "draining": st.sampled_from([False, False, False, True]),
            }
        ),
    )
    def put(self, name: str, words: dict[str, Any]) -> None:
        self.there[name] = endpoint(name, **words)
        self._put()

    @rule(name=NAMED)
    def take_away(self, name: str) -> None:
        self.there.pop(name, None)
        self._put()

    @rule()
    def all_die(self) -> None:
        ill = Health.UNHEALTHY
        self.there = {name: msgspec.structs.replace(one, health=ill) for name, one in self.there.items()}
        self._put()

    @rule()
    def all_return(self) -> None:
        self.there = {name: endpoint(name) for name in "abcdefghijkl"}
        self._put()

    @rule(names=st.sets(NAMED))
    def block(self, names: set[str]) -> None:
        self.blocked = names
        self.switches.block(names)

    @rule(passes_s=st.sampled_from([0.01, 0.8, 7, 100]))
    def wait(self, passes_s: float) -> None:
        self.now += passes_s

    @rule(
        algorithm=st.sampled_from(NAMES),
        zone=st.sampled_from(["", "x", "z"]),
        panic_percent=st.sampled_from([0, 50, 100]),
        per_endpoint=st.sampled_from([0, 0, 3]),
        slow_start_s=st.sampled_from([0, 5]),
    )
    def switch(
        self, algorithm: Any, zone: str, panic_percent: int, per_endpoint: int, slow_start_s: float
    ) -> None:
        self.settings = Settings(
            algorithm=algorithm,
            panic_percent=panic_percent,
            slow_start_s=slow_start_s,
            limits=ServiceLimits(per_endpoint=per_endpoint),
        )
        self.zone = zone
        self.balancer.settle(self.settings, zone)

    @rule(key=st.one_of(st.none(), st.integers(0, (1 << 64) - 1)), times=st.integers(1, 12))
    def connect(self, key: int | None, times: int) -> None:
        for _ in range(times):
            picked = self.balancer.pick(self.given, self.now, key)
            self._check(picked)
            if picked is not None:
                self.balancer.reserve(picked)
                self.held.append(picked)

    def _check(self, picked: Member | None) -> None:
        bound = self.settings.limits.per_endpoint or 1 << 60
        counts = {member.id: member.active for member in self.balancer.members.values()}
        may = [one for one in self.given if one.id not in self.blocked and counts.get(one.id, 0) < bound]
        if picked is None:
            assert may == []
            return
        one = self.there[picked.id]
        assert one in may
        assert picked.endpoint == one
        living = [other for other in may if other.ready]
        if living and not one.ready:
            assert self.balancer.eligible.tier is Tier.PANIC
            assert not one.draining
        if any(other.weight for other in living) and self.balancer.eligible.tier is not Tier.PANIC:
            assert one.weight > 0
        assert 0 < picked.weight <= max(1, one.weight)

    @rule(key=st.one_of(st.none(), st.integers(0, (1 << 64) - 1)))
    def try_all(self, key: int | None) -> None:
        tried: list[str] = []
        while (picked := self.balancer.pick(self.given, self.now, key, tried)) is not None:
            assert picked.id not in tried
            tried.append(picked.id)
        bound = self.settings.limits.per_endpoint or 1 << 60
        left = set(self.there) - self.blocked - set(tried)
        assert all(self.balancer.members[name].active >= bound for name in left)

    @precondition(lambda self: self.settings.algorithm in ("round_robin", "weighted"))
    @rule()
    def nobody_starves(self) -> None:
        self.wait(100)
        self.balancer.pick(self.given, self.now, None)
        self.settings = msgspec.structs.replace(self.settings, limits=ServiceLimits())
        self.balancer.settle(self.settings, self.zone)
        picked = {one.id for _ in range(120) if (one := self.balancer.pick(self.given, self.now, None))}
        eligible = self.balancer.eligible
        assert {one.id for one in eligible.chosen} <= picked

    @rule(data=st.data())
    def end_one(self, data: st.DataObject) -> None:
        if self.held:
            self.balancer.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @rule(data=st.data(), took_s=st.floats(0, 3))
    def measure(self, data: st.DataObject, took_s: float) -> None:
        if self.held:
            self.balancer.measured(data.draw(st.sampled_from(self.held)), took_s, self.now)

    @invariant()
    def counts_are_right(self) -> None:
        assert self.balancer.active == len(self.held)
        held = {name: member.active for name, member in self.balancer.members.items() if member.active}
        assert held == {member.id: sum(one is member for one in self.held) for member in self.held}

    def teardown(self) -> None:
        for member in self.held:
            self.balancer.release(member)
        assert self.balancer.active == 0
        assert not any(member.active for member in self.balancer.members.values())
        self.balancer.pick(self.given, self.now, 1)
        assert set(self.balancer.members) == set(self.there), "nobody is remembered who has gone"
        # No algorithm has failed, and no connection was given back twice.
        assert set(self.balancer.remarks) <= {WEIGHTLESS, "no_key"}


class TestTraffic(Traffic.TestCase):  # type: ignore[misc, valid-type]
    # Twenty examples, as of others, would find a forgotten version of the breakers by luck only.
    settings = hypothesis.settings(max_examples=max(100, hypothesis.settings().max_examples))
