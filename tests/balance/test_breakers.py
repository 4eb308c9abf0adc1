"""The breakers of a port: who is blocked, who may prove it, what others hear."""

import math
from random import Random

import pytest
from msgspec.structs import replace

from meshtrio.balance import breakers as module
from meshtrio.balance.breaker import PERMIT_S, Thresholds
from meshtrio.balance.breaker_table import WHOLE, State
from meshtrio.balance.breakers import PortBreakers
from meshtrio.balance.ejection import Level
from meshtrio.balance.hearsay import Counts, Stand
from meshtrio.balance.verdict import ORDINARY, REFUSED, Verdict

NOW = 1000.0
LATER = NOW + 40
"""When what opened at NOW is due, whatever the jitter."""


def port(members: str = "abcd", **more: object) -> PortBreakers:
    made = PortBreakers(replace(Thresholds(), **more), Random(1))
    made.retain(members)
    return made


def fails(one: PortBreakers, endpoint: str, now: float = NOW, *, times: int = 5) -> None:
    for _ in range(times):
        one.record(endpoint, Verdict.FAILURE, now, ticket=ORDINARY)


def state(one: PortBreakers, endpoint: str, now: float) -> State:
    return one.states(now)[endpoint].state


# The common path


def test_who_never_failed_has_no_breaker() -> None:
    one = port()
    for verdict in (Verdict.SUCCESS, Verdict.NEUTRAL):
        assert one.begin("a", NOW) == ORDINARY
        one.record("a", verdict, NOW, ticket=ORDINARY, took_s=9)
    assert one.states(NOW) == {}
    assert (one.blocked(NOW), one.level(NOW), one.wait_s(NOW)) == (frozenset(), Level.CLOSED, 0.0)
    assert not one.sightings


def test_a_breaker_that_is_no_different_from_none_is_forgotten() -> None:
    one = port()
    fails(one, "a", times=1)
    one.record("a", Verdict.SUCCESS, NOW + 1, ticket=ORDINARY)
    assert list(one.states(NOW)) == ["a"]
    one.record("a", Verdict.SUCCESS, NOW + 31, ticket=ORDINARY)
    assert one.states(NOW) == {}


def test_the_blocked_set_is_the_same_object_until_something_changes() -> None:
    one = port()
    fails(one, "a")
    first, version = one.blocked(NOW), one.version
    assert first == {"a"}
    one.record("b", Verdict.FAILURE, NOW, ticket=ORDINARY)
    one.record("b", Verdict.SUCCESS, NOW, ticket=ORDINARY)
    assert one.blocked(NOW + 20) is first
    assert one.current(NOW + 20) == version
    assert one.current(LATER) > version
    assert one.blocked(LATER) == frozenset()


# Open, half open, closed


def test_an_open_endpoint_gets_nothing_and_the_port_is_degraded() -> None:
    one = port()
    fails(one, "a")
    assert one.begin("a", NOW) == REFUSED
    assert one.begin("b", NOW) == ORDINARY
    assert one.level(NOW) is Level.DEGRADED
    assert 24 <= one.wait_s(NOW) <= 36
    assert one.wait_s(NOW) - one.wait_s(NOW + 1) == pytest.approx(1)


def test_a_port_all_of_whose_endpoints_are_blocked_is_open() -> None:
    one = port("ab", ejected_percent=100)
    fails(one, "a")
    fails(one, "b")
    assert one.level(NOW) is Level.OPEN


def test_three_at_once_prove_it_and_as_many_successes_close_it() -> None:
    one = port()
    fails(one, "a")
    tickets = [one.begin("a", LATER) for _ in range(4)]
    assert tickets[3] == REFUSED
    assert len(set(tickets)) == 4
    assert one.blocked(LATER) == {"a"}
    for ticket in tickets[:2]:
        one.record("a", Verdict.SUCCESS, LATER, ticket=ticket)
        assert one.blocked(LATER) == frozenset()
    one.record("a", Verdict.NEUTRAL, LATER, ticket=tickets[2])
    assert state(one, "a", LATER) is State.HALF_OPEN
    one.record("a", Verdict.SUCCESS, LATER, ticket=one.begin("a", LATER))
    assert state(one, "a", LATER) is State.CLOSED
    assert one.begin("a", LATER) == ORDINARY


def test_only_who_has_a_ticket_of_his_own_proves_something() -> None:
    one = port()
    fails(one, "a")
    stale = one.begin("a", LATER)
    for ticket in (ORDINARY, stale + 100):
        one.record("a", Verdict.FAILURE, LATER, ticket=ticket)
    assert state(one, "a", LATER) is State.HALF_OPEN
    one.record("a", Verdict.FAILURE, LATER, ticket=stale)
    assert state(one, "a", LATER) is State.OPEN
    again = LATER + 80
    assert one.begin("a", again) > ORDINARY
    one.record("a", Verdict.FAILURE, again, ticket=stale)  # given back once already
    assert state(one, "a", again) is State.HALF_OPEN


def test_a_slow_one_opens_a_half_open_endpoint() -> None:
    one = port(slow_s=1)
    fails(one, "a")
    one.record("a", Verdict.SUCCESS, LATER, ticket=one.begin("a", LATER), took_s=1.1)
    assert state(one, "a", LATER) is State.OPEN


def test_slow_ones_open_a_closed_endpoint() -> None:
    one = port(slow_s=1, minimum=4)
    for took_s in (1.1, 1.0, 0.9, 2.0):
        one.record("a", Verdict.SUCCESS, NOW, ticket=ORDINARY, took_s=took_s)
    assert state(one, "a", NOW) is State.OPEN


def test_permits_that_nobody_gives_back_come_back_in_time() -> None:
    one = port()
    fails(one, "a")
    lost = [one.begin("a", LATER) for _ in range(3)]
    version = one.version
    assert one.blocked(LATER + PERMIT_S - 1) == {"a"}
    assert one.blocked(LATER + PERMIT_S) == frozenset()
    assert one.version > version
    assert one.begin("a", LATER + PERMIT_S) > ORDINARY
    for ticket in lost:  # too late: these prove nothing, and free no place
        one.record("a", Verdict.SUCCESS, LATER + PERMIT_S, ticket=ticket)
    assert len(one.states(LATER + PERMIT_S)["a"].permits) == 1


def test_those_beyond_the_share_are_let_in_though_they_are_open() -> None:
    one = port("ab", ejected_percent=50)
    fails(one, "a")
    fails(one, "b", NOW + 1)
    assert one.blocked(NOW + 1) == {"b"}
    assert (one.begin("a", NOW + 1), one.begin("b", NOW + 1)) == (ORDINARY, REFUSED)


# Settings and members


def test_switched_off_nothing_opens_and_what_is_open_is_let_go() -> None:
    one = port()
    fails(one, "a")
    one.obey({"b": "open"}, NOW)
    one.settle(replace(one.thresholds, enabled=False))
    assert one.blocked(NOW) == {"b"}
    fails(one, "c", times=50)
    assert one.blocked(NOW) == {"b"}


def test_new_thresholds_hold_for_what_is_there() -> None:
    one = port()
    fails(one, "a", times=1)
    fails(one, "b")
    version = one.version
    one.settle(replace(one.thresholds))
    assert one.version == version
    one.settle(replace(one.thresholds, consecutive=2, window_s=5, slow_s=0.5))
    fails(one, "a", times=1)
    assert one.blocked(NOW) == {"a", "b"}


def test_endpoints_that_left_are_forgotten_unless_an_operator_holds_them() -> None:
    one = port()
    fails(one, "a")
    one.obey({"b": "open"}, NOW)
    one.retain("cd")
    assert list(one.states(NOW)) == ["b"]
    assert one.blocked(NOW) == frozenset()
    assert not one.sightings
    fails(one, "a")
    assert list(one.states(NOW)) == ["b"]
    version = one.version
    one.retain("dc")
    assert one.version == version
    one.retain("bcd")
    assert one.blocked(NOW) == {"b"}


def test_breakers_are_bounded_and_full_means_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BREAKERS_BOUND", 2)
    one = port()
    fails(one, "a", times=1)
    one.record("a", Verdict.SUCCESS, NOW, ticket=ORDINARY)
    fails(one, "b")
    fails(one, "c")
    assert set(one.states(NOW)) == {"a", "b"}
    assert one.begin("c", NOW) == ORDINARY
    fails(one, "c", NOW + 31)  # what says nothing any more makes room
    assert set(one.states(NOW)) == {"b", "c"}


# The operator


def test_a_forced_endpoint_ignores_all_results() -> None:
    one = port()
    one.obey({"a": "open", "b": "close"}, NOW)
    fails(one, "b", times=50)
    one.record("a", Verdict.SUCCESS, NOW, ticket=ORDINARY)
    assert one.blocked(NOW + 1e6) == {"a"}
    assert (one.begin("a", NOW), one.begin("b", NOW)) == (REFUSED, ORDINARY)
    one.obey({}, NOW)
    assert one.blocked(NOW) == frozenset()
    fails(one, "b")
    assert one.blocked(NOW) == {"b"}


def test_a_port_is_forced_as_a_whole() -> None:
    one = port()
    fails(one, "a")
    one.obey({WHOLE: "open"}, NOW)
    assert (one.blocked(NOW), one.level(NOW)) == (frozenset("abcd"), Level.OPEN)
    assert one.begin("b", NOW) == one.begin("not listed", NOW) == REFUSED
    one.obey({WHOLE: "close"}, NOW)
    fails(one, "a", times=50)
    one.learn({"b": Counts(0, 9, 0, 9)}, {"c": Stand(NOW, True, NOW + 30, 1)}, NOW)
    assert (one.blocked(NOW), one.level(NOW), one.begin("a", NOW)) == (frozenset(), Level.CLOSED, ORDINARY)
    one.obey({}, NOW)
    assert (one.blocked(NOW), one.states(NOW)) == (frozenset(), {})


# What others hear


def test_failures_of_two_workers_add_up() -> None:
    one, two = port(), port()
    fails(one, "a", times=3)
    two.learn(*one.sightings.take(), NOW)
    fails(two, "a", times=2)
    assert two.blocked(NOW) == {"a"}
    one.learn(*two.sightings.take(), NOW)
    assert one.blocked(NOW) == {"a"}
    assert one.states(NOW)["a"].stand == two.states(NOW)["a"].stand


def test_a_success_elsewhere_ends_the_row() -> None:
    one, two = port(), port()
    fails(one, "a", times=4)
    two.learn(*one.sightings.take(), NOW)
    one.record("a", Verdict.SUCCESS, NOW, ticket=ORDINARY)
    two.learn(*one.sightings.take(), NOW)
    fails(two, "a", times=4)
    assert two.blocked(NOW) == frozenset()


def test_what_was_learnt_is_not_told_again() -> None:
    one, two = port(), port()
    fails(one, "a", times=2)
    fails(one, "b")
    two.learn(*one.sightings.take(), NOW)
    assert not two.sightings
    assert two.blocked(NOW) == {"b"}


def test_a_closing_is_learnt_too() -> None:
    one, two = port(), port()
    fails(one, "a")
    two.learn(*one.sightings.take(), NOW)
    for _ in range(3):
        one.record("a", Verdict.SUCCESS, LATER, ticket=one.begin("a", LATER))
    two.learn(*one.sightings.take(), LATER)
    assert state(two, "a", LATER) is State.CLOSED


def test_a_closing_that_overtakes_its_opening_holds() -> None:
    one = port()
    one.learn({}, {"a": Stand(LATER, False, 0.0, 1)}, LATER)
    one.learn({}, {"a": Stand(NOW, True, LATER + 10, 1)}, LATER)
    assert state(one, "a", LATER) is State.CLOSED
    assert one.blocked(LATER) == frozenset()


def test_the_absurd_is_passed_over_and_counted() -> None:
    one = port()
    counts = {"a": Counts(0, -5, 0, 9), "b": Counts(0, 1, 0, 1), "left": Counts(0, 9, 0, 9)}
    stands = {"c": Stand(NOW, True, math.inf, 1), "d": Stand(math.nan, True, NOW, 1)}
    assert one.learn(counts, stands, NOW) == 3
    assert list(one.states(NOW)) == ["b"]
    assert one.blocked(NOW) == frozenset()
