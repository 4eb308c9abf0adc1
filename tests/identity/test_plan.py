"""Renewal in time: a year in a second, authorities that are down, clocks that jump."""

import time
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.identity.plan import (
    BACKOFF_MOST_S,
    CHECK_S,
    Now,
    Plan,
    Turn,
    Validity,
    backoff_s,
    failed,
    issued,
    restored,
    revoked,
    rotate,
    tick,
    wakes_in_s,
)
from meshtrio.identity.rotation import ASKING, Act, State

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
EPOCH = 1_800_000_000.0


class World:
    """A workload, an authority and two clocks. The authority answers as `answers` says, after `takes_s`."""

    def __init__(self, life_s: float = DAY_S, luck: Random | None = None) -> None:
        self.running = 0.0
        self.wall_ahead_s = EPOCH
        """Our wall clock; the authority's stands at EPOCH when the running clock is at 0."""
        self.life_s = life_s
        self.luck = luck or Random(1)
        self.answers: Callable[[float], bool] = lambda _: True
        self.takes_s = 0.2
        self.plan = Plan()
        self.asked: list[float] = []
        self.certificates = 0
        self.refused_s = 0.0

    def now(self) -> Now:
        return Now(self.running + self.wall_ahead_s, self.running, self.luck.random())

    def take(self, turn: Turn) -> None:
        self.plan = turn.plan
        if turn.act is Act.ASK:
            self.asked.append(self.running)
            self._pass(self.takes_s)
            attempt = self.plan.attempt
            if self.answers(self.running):
                begin = EPOCH + self.running
                self.certificates += 1
                turn = issued(self.plan, Validity(begin - 300, begin + self.life_s), self.now(), attempt)
            else:
                turn = failed(self.plan, self.now(), attempt)
            self.take(turn)

    def state(self) -> State:
        return self.plan.state

    def serves(self) -> bool:
        return self.plan.serves

    def run(self, until: float, most_s: float = CHECK_S) -> None:
        while self.running < until:
            self.take(tick(self.plan, self.now()))
            self._pass(min(until - self.running, wakes_in_s(self.plan, self.now(), most_s)))

    def _pass(self, seconds: float) -> None:
        self.running += seconds
        if not self.plan.serves:
            self.refused_s += seconds


def test_the_first_certificate_is_asked_for_at_once() -> None:
    world = World()
    world.run(1.0)
    assert (world.asked, world.state()) == ([0.0], State.FRESH)
    assert world.serves()


@pytest.mark.parametrize(("luck", "hours"), [(0.0, 16.0), (0.5, 15.2), (0.999, 14.4)])
def test_renewal_is_due_at_two_thirds_less_jitter(luck: float, hours: float) -> None:
    plan = issued(
        Plan(State.ASKING, attempt=1), Validity(EPOCH, EPOCH + DAY_S), Now(EPOCH, 50.0, luck), 1
    ).plan
    assert plan.due_running - 50 == pytest.approx(hours * 3600, rel=0.001)
    assert tick(plan, Now(EPOCH, plan.due_running - 1)).act is Act.WAIT
    due = tick(plan, Now(EPOCH, plan.due_running))
    assert (due.act, due.plan.state) == (Act.ASK, State.RENEWING)
    assert tick(plan, Now(plan.due_wall, 50.0)).act is Act.ASK


def test_a_year_of_rotations() -> None:
    """24 h of life, an authority that fails now and then and is down for 6 h once a month: never refused."""
    world = World(luck=Random(7))
    started = time.perf_counter()
    world.answers = lambda at: at % (30 * DAY_S) > DAY_S / 4 or at < DAY_S if at % 7 > 1 else False
    world.run(YEAR_S, most_s=3600)
    assert time.perf_counter() - started < 2.0
    assert 540 < world.certificates < 700
    assert world.refused_s < 20, "only before the first certificate"


def test_a_thousand_workloads_do_not_come_together() -> None:
    dues = sorted(
        issued(Plan(), Validity(EPOCH, EPOCH + DAY_S), Now(EPOCH, 0.0, number / 1000)).plan.due_running
        for number in range(1000)
    )
    assert dues[-1] - dues[0] > 1.5 * 3600
    assert max(later - sooner for sooner, later in pairwise(dues)) < 10


def test_an_authority_that_is_down_for_20_hours_harms_nobody() -> None:
    world = World()
    world.run(1.0)
    world.answers = lambda at: at > 20 * 3600
    world.run(19.9 * 3600)
    assert (world.state() in (State.FAILING, State.RENEWING), world.serves()) == (True, True)
    world.run(20.5 * 3600)
    assert world.state() is State.FRESH
    assert world.refused_s < 1
    assert len(world.asked) < 200


def test_down_past_the_end_is_refused_and_heals_by_itself() -> None:
    world = World()
    world.run(1.0)
    end = world.plan.validity
    assert end is not None
    world.answers = lambda at: at > 30 * 3600
    world.run(end.not_after - EPOCH + 299)
    assert world.serves(), "clocks may differ by five minutes"
    world.run(end.not_after - EPOCH + 302)
    assert not world.serves()
    assert world.state() in (State.EXPIRED, State.RECOVERING)
    world.run(30 * 3600 + 301)
    assert world.state() is State.FRESH


def test_waiting_grows_to_five_minutes() -> None:
    assert [backoff_s(n, None, 1.0) for n in (1, 2, 3, 9, 10, 64)] == [1, 2, 4, 256, 300, 300]
    assert backoff_s(3, None, 0.0) == 2.0
    assert backoff_s(64, DAY_S, 1.0) == BACKOFF_MOST_S
    assert backoff_s(64, 30.0, 1.0) == 3.0


def test_short_lives_survive_an_outage_of_a_third() -> None:
    world = World(life_s=30.0)
    world.answers = lambda at: at % 60 < 50 or at < 30
    world.run(600.0)
    assert world.refused_s < 1


def test_an_emergency_does_not_wait() -> None:
    world = World()
    world.run(100.0)
    world.take(rotate(world.plan))
    assert world.certificates == 2 and world.serves()
    world.answers = lambda _: False
    world.take(rotate(world.plan))
    assert world.state() is State.FAILING and world.serves()


def test_an_emergency_drops_what_is_under_way() -> None:
    asked = tick(Plan(), Now(EPOCH, 0.0)).plan
    again = rotate(asked)
    assert (again.act, again.plan.attempt) == (Act.ASK, asked.attempt + 1)
    now, good = Now(EPOCH, 1.0), Validity(EPOCH, EPOCH + DAY_S)
    assert issued(again.plan, good, now, asked.attempt).plan is again.plan
    assert failed(again.plan, now, asked.attempt).plan is again.plan
    assert issued(again.plan, good, now, again.plan.attempt).plan.serves


def test_revoked_is_refused_until_there_is_another() -> None:
    world = World()
    world.run(100.0)
    turn = revoked(world.plan)
    assert (turn.act, turn.plan.state, turn.plan.serves) == (Act.ASK, State.REPLACING, False)
    world.answers = lambda at: at > 400
    world.take(turn)
    assert world.state() is State.REVOKED
    world.run(399.0)
    assert not world.serves()
    world.run(900.0)
    assert world.state() is State.FRESH


def test_nothing_to_revoke() -> None:
    assert revoked(Plan()) == Turn(Plan(), Act.WAIT)


@pytest.mark.parametrize("jump_s", [-YEAR_S, -12 * 3600.0, -300.0, 300.0, 20 * 3600.0])
def test_a_clock_that_jumps_does_not_stop_rotation(jump_s: float) -> None:
    """Ours jumps, the authority's is right, and after a while ours is set right again."""
    world = World()
    world.run(3600.0)
    world.wall_ahead_s += jump_s
    world.run(40 * 3600.0)
    count = len(world.asked)
    world.wall_ahead_s -= jump_s
    world.run(42 * 3600.0)
    assert world.state() is State.FRESH
    world.run(80 * 3600.0)
    assert world.serves()
    assert len(world.asked) > count
    assert len(world.asked) < 700, "it asks no faster than it may"


def test_a_clock_that_fell_back_does_not_put_renewal_off() -> None:
    """It fell back by 12 h, within the life: by the wall alone renewal would come 12 h late, and the others
    would refuse the certificate for 4 h."""
    world = World()
    world.run(13 * 3600.0)
    world.wall_ahead_s -= 12 * 3600.0
    world.run(16.1 * 3600.0)
    assert 14.3 < world.asked[1] / 3600 <= 16


def test_a_certificate_that_comes_unasked() -> None:
    now = Now(EPOCH, 5.0)
    pushed = issued(Plan(), Validity(EPOCH, EPOCH + DAY_S), now).plan
    assert pushed.state is State.FRESH
    asked = tick(pushed, Now(EPOCH, pushed.due_running)).plan
    again = issued(asked, Validity(EPOCH, EPOCH + 2 * DAY_S), now).plan
    assert again.state is State.FRESH
    assert failed(again, now, asked.attempt).plan is again
    assert issued(again, Validity(0.0, 1.0), now).plan is again, "of no use, so nothing changes"


def test_an_answer_of_no_use_is_a_failure() -> None:
    asked = tick(Plan(), Now(EPOCH, 0.0)).plan
    for useless in (Validity(0.0, EPOCH - 1), Validity(EPOCH + 301, EPOCH + DAY_S)):
        plan = issued(asked, useless, Now(EPOCH, 1.0), asked.attempt).plan
        assert (plan.state, plan.failures, plan.validity) == (State.NONE, 1, None)


@pytest.mark.parametrize(("age_h", "asks"), [(1.0, False), (15.9, False), (17.0, True), (23.9, True)])
def test_a_certificate_from_before_a_restart(age_h: float, asks: bool) -> None:
    validity = Validity(EPOCH - age_h * 3600, EPOCH + (24 - age_h) * 3600)
    plan = restored(Plan(), validity, Now(EPOCH, 0.0)).plan
    assert plan.serves
    assert (tick(plan, Now(EPOCH, 0.0)).act is Act.ASK) == asks
    assert restored(Plan(), Validity(0.0, 1.0), Now(EPOCH, 0.0)).plan == Plan()


times = st.floats(0, 200_000)
validities = st.builds(Validity, times, times)
EVENTS: list[Callable[[Plan, Now, Validity], Turn]] = [
    lambda plan, now, _: tick(plan, now),
    lambda plan, _now, _: rotate(plan),
    lambda plan, _now, _: revoked(plan),
    lambda plan, now, _: failed(plan, now, plan.attempt),
    lambda plan, now, _: failed(plan, now, plan.attempt - 1),
    lambda plan, now, validity: issued(plan, validity, now, plan.attempt),
    lambda plan, now, validity: issued(plan, validity, now),
    lambda plan, now, validity: restored(plan, validity, now),
]


@given(st.data())
def test_no_state_and_no_time_is_a_trap(data: st.DataObject) -> None:
    """Whatever happens in whatever order: what serves is valid, and with an authority that answers it is
    fresh within the longest wait."""
    plan, running, wall = Plan(), 0.0, 100_000.0
    for _ in range(data.draw(st.integers(0, 25))):
        running += data.draw(st.floats(0, 5000))
        wall = data.draw(times)
        now = Now(wall, running, data.draw(st.floats(0, 0.999)))
        before = plan
        plan, act = data.draw(st.sampled_from(EVENTS))(plan, now, data.draw(validities))
        assert (act is Act.ASK) == (plan.attempt > before.attempt)
        plan, _ = tick(plan, now)
        if plan.serves:
            assert plan.validity is not None and plan.validity.covers(wall, plan.skew_s)
        assert wakes_in_s(plan, now) <= CHECK_S
    for _ in range(2000):
        if plan.state is State.FRESH:
            return
        if plan.state in ASKING:
            plan, _ = issued(plan, Validity(wall, wall + DAY_S), Now(wall, running, 0.0), plan.attempt)
        else:
            step = wakes_in_s(plan, Now(wall, running))
            running += step
            plan, _ = tick(plan, Now(wall, running))
    raise AssertionError(plan)


def test_sleeping_as_told_is_enough() -> None:
    """Nothing is due between: the sleep ends exactly when something is, and never takes no time for ever."""
    world = World()
    world.run(10.0)
    asked = len(world.asked)
    slept = 0
    while len(world.asked) == asked:
        world.take(tick(world.plan, world.now()))
        world.running += wakes_in_s(world.plan, world.now(), most_s=DAY_S)
        slept += 1
    assert slept <= 3
