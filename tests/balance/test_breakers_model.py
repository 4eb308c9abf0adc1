"""Breakers under everything that can happen to them, in any order."""

from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshtrio.balance.breaker import PERMIT_S, Thresholds
from meshtrio.balance.breaker_table import WHOLE, Force, State
from meshtrio.balance.breakers import PortBreakers
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.balance.verdict import ORDINARY, REFUSED, Verdict

NAMES = "abcdefg"
NAME = st.sampled_from(NAMES)
VERDICT = st.sampled_from(Verdict)
WANTED = Thresholds(
    consecutive=2,
    minimum=4,
    window_s=10,
    open_s=5,
    open_max_s=20,
    half_open=2,
    successes=2,
    ejected_percent=50,
)


class OnePort(RuleBasedStateMachine):
    """One port's breakers, whose connections end in any way, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.port = PortBreakers(WANTED, Random(7))
        self.members = frozenset(NAMES)
        self.port.retain(NAMES)
        self.forced: dict[str, Force] = {}
        self.out: list[tuple[str, int]] = []

    @rule(wait_s=st.sampled_from([0.0, 0.5, 3.0, 7.0, 40.0]))
    def time_passes(self, wait_s: float) -> None:
        self.now += wait_s

    @rule(name=NAME)
    def connect(self, name: str) -> None:
        blocked = self.port.blocked(self.now)
        ticket = self.port.begin(name, self.now)
        whole = self.forced.get(WHOLE)
        if name in self.members:
            assert (ticket == REFUSED) == (name in blocked), "who is not blocked may connect, and no one else"
        if ticket > ORDINARY:
            assert self.port.states(self.now)[name].state is State.HALF_OPEN
            assert whole is None
        if ticket:
            self.out.append((name, ticket))

    @rule(which=st.integers(0, 99), verdict=VERDICT)
    def end(self, which: int, verdict: Verdict) -> None:
        if self.out:
            name, ticket = self.out.pop(which % len(self.out))
            self.port.record(name, verdict, self.now, ticket=ticket)

    @rule(which=st.integers(0, 99))
    def vanish(self, which: int) -> None:
        if self.out:
            self.out.pop(which % len(self.out))

    @rule(name=NAME, times=st.integers(1, 5))
    def storm(self, name: str, times: int) -> None:
        for _ in range(times):
            ticket = self.port.begin(name, self.now)
            if ticket:
                self.port.record(name, Verdict.FAILURE, self.now, ticket=ticket)

    @precondition(lambda self: self.of_state(State.OPEN, State.HALF_OPEN))
    @rule(data=st.data(), times=st.integers(1, 9))
    def rush(self, data: st.DataObject, times: int) -> None:
        """As soon as an open one is due, many connect at once, and none has an answer yet."""
        name = data.draw(st.sampled_from(self.of_state(State.OPEN, State.HALF_OPEN)))
        self.now = max(self.now, self.port.states(self.now)[name].stand.until)
        tickets = [self.port.begin(name, self.now) for _ in range(times)]
        self.out += [(name, ticket) for ticket in tickets if ticket]
        assert sum(ticket > ORDINARY for ticket in tickets) <= WANTED.half_open
        known = self.port.states(self.now)[name].permits
        mine = {ticket for one, ticket in self.out if one == name}
        assert len(mine & known.keys()) <= WANTED.half_open, "however many have come before"

    def of_state(self, *states: State) -> list[str]:
        if self.forced.get(WHOLE):
            return []
        here = self.port.states(self.now)
        return sorted(name for name, one in here.items() if one.state in states and name in self.members)

    @rule(names=st.frozensets(NAME))
    def others_serve(self, names: frozenset[str]) -> None:
        self.members = names
        self.port.retain(names)

    @rule(
        forced=st.dictionaries(
            st.sampled_from([*NAMES, WHOLE]), st.sampled_from(["open", "close"]), max_size=3
        )
    )
    def force(self, forced: dict[str, Force]) -> None:
        self.forced = forced
        self.port.obey(forced, self.now)

    @rule(name=NAME, failures=st.integers(0, 4), open_=st.booleans(), ago_s=st.floats(0, 9))
    def hear(self, name: str, failures: int, open_: bool, ago_s: float) -> None:
        stand = Stand(self.now - ago_s, open_, self.now + 5 - ago_s, 1)
        self.port.learn({name: Counts(1, failures, 0, failures)}, {name: stand}, self.now)

    @invariant()
    def at_most_the_share_is_blocked(self) -> None:
        blocked = self.port.blocked(self.now)
        assert blocked <= self.members
        whole = self.forced.get(WHOLE)
        if whole is not None:
            assert blocked == (self.members if whole == "open" else frozenset())
            return
        forced = {one for one in self.members if self.forced.get(one) == "open"}
        assert forced <= blocked
        assert not any(self.forced.get(one) == "close" for one in blocked)
        assert len(blocked - forced) <= max(1, (len(self.members) - len(forced)) // 2)

    @invariant()
    def no_more_prove_than_may(self) -> None:
        for breaker in self.port.states(self.now).values():
            assert len(breaker.permits) <= WANTED.half_open
            assert not breaker.permits or breaker.state is State.HALF_OPEN

    @invariant()
    def only_endpoints_that_are_there_or_forced_are_remembered(self) -> None:
        assert set(self.port.states(self.now)) <= self.members | set(self.forced)

    def teardown(self) -> None:
        """All is well again: after a while nothing is left."""
        self.port.obey({}, self.now)
        for name, ticket in self.out:
            self.port.record(name, Verdict.NEUTRAL, self.now, ticket=ticket)
        self.now += PERMIT_S  # what was never given back is void
        for _ in range(12):
            self.now += 25
            for name in self.members:
                ticket = self.port.begin(name, self.now)
                assert ticket, "a good endpoint must not starve"
                self.port.record(name, Verdict.SUCCESS, self.now, ticket=ticket)
        assert self.port.blocked(self.now) == frozenset()
        assert self.port.states(self.now) == {}
        self.port.sightings.take()
        assert not self.port.sightings


class ThreeWorkers(RuleBasedStateMachine):
    """Three workers tell each other; words come late, in another order, and twice."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.workers = [PortBreakers(WANTED, Random(number)) for number in range(3)]
        self.under_way: list[tuple[int, dict[str, Counts], dict[str, Stand]]] = []

    @rule(who=st.integers(0, 2), name=st.sampled_from("ab"), verdict=VERDICT, times=st.integers(1, 3))
    def connections(self, who: int, name: str, verdict: Verdict, times: int) -> None:
        for _ in range(times):
            ticket = self.workers[who].begin(name, self.now)
            if ticket:
                self.workers[who].record(name, verdict, self.now, ticket=ticket)

    @rule(name=st.sampled_from("ab"))
    def rush(self, name: str) -> None:
        """All workers prove an endpoint as soon as it is due in one of them: each within its own bound."""
        opened = [
            one.stand.until for one in (worker.states(self.now).get(name) for worker in self.workers) if one
        ]
        self.now = max(self.now, min(opened, default=0.0))
        for worker in self.workers:
            tickets = [worker.begin(name, self.now) for _ in range(5)]
            assert sum(ticket > ORDINARY for ticket in tickets) <= WANTED.half_open
            for ticket in filter(None, tickets):
                worker.record(name, Verdict.SUCCESS, self.now, ticket=ticket)

    @rule(wait_s=st.sampled_from([0.0, 0.01, 1.0, 2.0]))
    def time_passes(self, wait_s: float) -> None:
        self.now += wait_s

    @rule(who=st.integers(0, 2))
    def tell(self, who: int) -> None:
        counts, stands = self.workers[who].sightings.take()
        self.under_way += [(other, counts, stands) for other in range(3) if other != who]

    @rule(which=st.integers(0, 99), again=st.booleans())
    def deliver(self, which: int, again: bool) -> None:
        if self.under_way:
            number = which % len(self.under_way)
            to, counts, stands = self.under_way[number] if again else self.under_way.pop(number)
            self.workers[to].learn(counts, stands, self.now)

    @rule()
    def deliver_all_and_agree(self) -> None:
        for _ in range(10):
            for who in range(3):
                self.tell(who)
            if not self.under_way:
                break
            while self.under_way:
                self.deliver(0, again=False)
        assert not any(worker.sightings for worker in self.workers), "it does not go on and on"
        told = [self.opened(worker) for worker in self.workers]
        assert told[0] == told[1] == told[2]

    def opened(self, worker: PortBreakers) -> dict[str, Stand]:
        return {name: one.stand for name, one in worker.states(self.now).items() if one.stand.open}

    def teardown(self) -> None:
        self.deliver_all_and_agree()


TestOnePort = OnePort.TestCase
TestThreeWorkers = ThreeWorkers.TestCase
