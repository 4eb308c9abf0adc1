"""What a port gives out comes back, once; what is told of an endpoint is the first thing that is known."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.balance.balancer import Balancer
from meshtrio.balance.breaker import Thresholds
from meshtrio.balance.breaker_table import WHOLE, State
from meshtrio.balance.breakers import PortBreakers
from meshtrio.balance.port import Hold, Port
from meshtrio.config.traffic import Retries, ServiceLimits, Settings
from meshtrio.outcome import Outcome
from tests.support.endpoints import endpoints

ENDPOINTS = endpoints("abc")
OUR_SIDE = {Outcome.CLIENT_RESET, Outcome.DRAINED, Outcome.IDLE, Outcome.OUR_BUG}


def port(thresholds: Thresholds | None = None, **settings: object) -> Port:
    breakers = PortBreakers(thresholds or Thresholds(), Random(1))
    holds = Settings(**settings)  # type: ignore[arg-type]
    return Port("shop/web:http", Balancer(holds, breakers, zone="", start=0, luck=Random(1)), breakers)


def held(made: Port, now: float = 0.0, tried: tuple[str, ...] = ()) -> Hold:
    hold = made.hold(ENDPOINTS, now, None, tried)
    assert hold is not None
    return hold


def failures(made: Port, name: str = "a") -> int:
    breaker = made.breakers.states(0.0).get(name)
    return breaker.run if breaker else 0


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("answered", [False, True])
def test_what_an_ending_says_of_the_endpoint(outcome: Outcome, answered: bool) -> None:
    made = port()
    for failed_before in (held(made), held(made), held(made)):
        failed_before.ended(Outcome.CONNECT_FAILED, 0.0)
    hold = held(made)
    assert hold.endpoint.id == "a"
    if answered:
        hold.answered(1.0)
    hold.ended(outcome, 2.0)
    faults = (
        "connect_failed",
        "connect_timeout",
        "upstream_tls",
        "upstream_reset",
        "upstream_reset_early",
    )
    if answered or outcome is Outcome.CARRIED:
        assert failures(made) == 0, "it was well, so it begins anew"
    else:
        assert failures(made) == (2 if outcome.value in faults else 1)
    assert made.balancer.active == 0


def test_how_long_an_answer_took_is_measured_from_the_first_question() -> None:
    made = port()
    hold = held(made, 1.0)
    hold.asked(5.0)
    hold.asked(6.0)
    hold.answered(7.0)
    assert made.balancer.members["a"].ewma_s == 2.0
    hold.ended(Outcome.CARRIED, 9.0)
    unasked = held(made, 10.0)
    unasked.answered(20.0)
    assert made.balancer.members["b"].ewma_s == 0.0, "a server that speaks first was not asked"


def test_a_slow_answer_counts_as_slow() -> None:
    made = port(Thresholds(slow_s=1.0, slow_percent=50, minimum=2))
    for _ in range(6):
        hold = held(made)
        hold.asked(0.0)
        hold.answered(2.0)
        hold.ended(Outcome.CARRIED, 2.0)
    assert {breaker.state for breaker in made.breakers.states(2.0).values()} == {State.OPEN}


def test_who_was_asked_and_says_nothing_is_slow_before_anybody_gives_up() -> None:
    made = port(Thresholds(slow_s=1.0, minimum=2, ejected_percent=100), slow_start_s=0)
    silent = [held(made) for _ in range(6)]
    for hold in silent[::3] + silent[1::3]:
        hold.asked(0.0)
        hold.asked(0.9)
    silent[1].answered(0.5)
    made.hold(ENDPOINTS, 1.0, None, ())
    assert made.breakers.states(1.0) == {}, "a second is not longer than a second"
    made.hold(ENDPOINTS, 1.1, None, ())
    states = {name: breaker.state for name, breaker in made.breakers.states(1.1).items()}
    assert states == {"a": State.OPEN, "b": State.CLOSED}, "c was not asked anything"
    for hold in silent:
        hold.answered(9.0)
        hold.ended(Outcome.IDLE, 9.0)
    assert made.breakers.states(9.0)["b"].window.total == 1, "what is known is told once"


@pytest.mark.parametrize("outcome", [Outcome.CLIENT_RESET, Outcome.CARRIED])
@pytest.mark.parametrize("asked", [True, False])
def test_who_loses_patience_says_that_it_was_slow(outcome: Outcome, asked: bool) -> None:
    made = port(Thresholds(slow_s=1.0, minimum=2))
    hold = held(made)
    if asked:
        hold.asked(0.0)
    hold.ended(outcome, 2.0)
    breaker = made.breakers.states(2.0).get("a")
    assert (breaker.window.slow if breaker else 0) == int(asked)
    assert not made._unanswered


def test_a_server_that_speaks_first_is_not_silent() -> None:
    made = port(Thresholds(slow_s=1.0, minimum=1))
    hold = held(made)
    hold.answered(0.0)
    hold.asked(1.0)
    assert not made._unanswered
    hold.ended(Outcome.CARRIED, 9.0)
    assert made.breakers.states(9.0) == {}


def test_without_a_bound_on_slowness_nobody_is_remembered_as_silent() -> None:
    made = port()
    hold = held(made)
    hold.asked(0.0)
    assert not made._unanswered
    hold.ended(Outcome.IDLE, 9999.0)
    assert made.breakers.states(9999.0) == {}


def test_half_open_lets_few_through_and_the_rest_elsewhere() -> None:
    made = port(Thresholds(consecutive=1, open_s=10, half_open=1, successes=1), slow_start_s=0)
    held(made).ended(Outcome.CONNECT_FAILED, 0.0)
    assert {held(made, 1.0).endpoint.id for _ in range(6)} == {"b", "c"}
    holds = [held(made, 30.0) for _ in range(9)]
    assert [hold.endpoint.id for hold in holds].count("a") == 1
    next(hold for hold in holds if hold.endpoint.id == "a").answered(31.0)
    assert "a" in {held(made, 31.0).endpoint.id for _ in range(3)}


def test_nobody_to_call_is_explained() -> None:
    made = port(Thresholds(consecutive=1, ejected_percent=100))
    for _ in ENDPOINTS:
        held(made).ended(Outcome.CONNECT_FAILED, 0.0)
    assert made.hold(ENDPOINTS, 1.0, None, ()) is None
    outcome, words = made.why_none(ENDPOINTS, 1.0)
    assert outcome is Outcome.BREAKER_OPEN
    assert words.startswith("shop/web:http: circuit breakers cut all endpoints off; one is tried again in ")
    made = port(limits=ServiceLimits(per_endpoint=1))
    assert len({held(made).endpoint.id for _ in ENDPOINTS}) == 3
    assert made.hold(ENDPOINTS, 1.0, None, ()) is None
    assert made.why_none(ENDPOINTS, 1.0)[0] is Outcome.LIMIT
    made.breakers.obey({WHOLE: "open"}, 1.0)
    assert made.why_none(ENDPOINTS, 1.0)[0] is Outcome.BREAKER_OPEN


def test_the_limits_of_the_service() -> None:
    made = port(limits=ServiceLimits(connections=2, pending=1))
    assert made.full() == port().full() == ""
    made.pending = 1
    assert made.full() == "traffic.limits.pending"
    one, _ = held(made), held(made)
    assert made.full() == "traffic.limits.connections"
    made.pending = 0
    one.ended(Outcome.CARRIED, 0.0)
    assert made.full() == ""


def test_retries_end_with_the_attempts_or_the_budget() -> None:
    made = port(retries=Retries(attempts=2, budget_percent=0, budget_per_s=0.1))
    assert made.why_no_retry(0, 0.0) == ""
    assert made.why_no_retry(1, 0.0) == "the retry budget of shop/web:http is spent"
    assert made.why_no_retry(2, 0.0) == "tried 3 times, as traffic.retries.attempts allows"
    made.settle(Settings(retries=Retries(budget_per_s=3)), "")
    assert made.why_no_retry(1, 0.0) == ""


def hedged(made: Port, tried: tuple[str, ...], retried: int = 0, now: float = 0.0) -> Hold | None:
    return made.hedge(ENDPOINTS, now, None, tried, retried=retried)


def test_a_hedge_is_a_retry_elsewhere() -> None:
    made = port(retries=Retries(attempts=1, budget_percent=0, budget_per_s=2))
    first = held(made)
    hedge = hedged(made, (first.endpoint.id,))
    assert hedge is not None
    assert hedge.endpoint.id != first.endpoint.id
    assert hedged(made, ("a",), retried=1) is None, "attempts allows one"
    assert (made.budget.allowed, made.budget.denied, made.hedges, made.balancer.active) == (1, 0, 1, 2)
    assert made.why_no_retry(0, 0.0) == ""
    assert hedged(made, ("a",)) is None, "both retries of this second are taken"
    assert (made.budget.denied, made.hedges, made.balancer.active) == (1, 1, 2)


def test_where_no_other_is_nothing_is_taken_for_a_hedge() -> None:
    made = port(limits=ServiceLimits(connections=2))
    assert hedged(made, ("a", "b", "c")) is None
    holds = [held(made), held(made)]
    assert hedged(made, (holds[0].endpoint.id,)) is None, "the service has as many connections as it may"
    holds[1].ended(Outcome.CARRIED, 0.0)
    assert hedged(made, (holds[0].endpoint.id,)) is not None
    assert (made.budget.allowed, made.budget.denied, made.hedges) == (1, 0, 1)


def test_a_hedge_without_budget_gives_a_permit_back() -> None:
    made = port(
        Thresholds(consecutive=1, open_s=10, half_open=1),
        slow_start_s=0,
        retries=Retries(budget_percent=0, budget_per_s=0),
    )
    held(made).ended(Outcome.CONNECT_FAILED, 0.0)
    assert made.breakers.states(30.0)["a"].state is State.HALF_OPEN
    assert hedged(made, ("b", "c"), now=30.0) is None
    assert not made.breakers.states(30.0)["a"].permits


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(Outcome)), max_size=60))
def test_counts_return_to_zero(steps: list[tuple[bool, Outcome]]) -> None:
    made = port(Thresholds(consecutive=2, open_s=3, half_open=1, successes=1), slow_start_s=0)
    holds: list[Hold] = []
    clock = itertools.count()
    for begins, outcome in steps:
        now = float(next(clock))
        if begins:
            hold = made.hold(ENDPOINTS, now, None, ())
            holds += [hold] if hold is not None else []
        elif holds:
            holds.pop(0).ended(outcome, now)
        assert made.balancer.active == len(holds)
    for hold in holds:
        hold.ended(Outcome.CARRIED, float(next(clock)))
    assert [member.active for member in made.balancer.members.values() if member.active] == []
    assert not made.balancer.remarks["released_twice"]
