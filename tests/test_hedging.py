"""Two tries of one call beside each other, however each goes: one is taken, and all books are right."""

from contextlib import closing

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.attempts import Refused
from meshtrio.config.traffic import ServiceLimits
from meshtrio.outcome import Outcome
from meshtrio.secure.border import Unsafe
from tests.support.scripted import CONNECT_S, How, Script, Stage, reached, staged


def test_while_one_is_silent_another_is_tried() -> None:
    with staged(Script("hangs"), Script("stands", 0.5)) as made:
        assert reached(made) == ("e1", 1.5)
        assert (made.port.budget.allowed, made.port.hedges, made.port.hedges_won) == (1, 1, 1)
        assert made.blamed() == 0, "nobody knows what would have become of the first one"


def test_the_first_one_may_still_win() -> None:
    with staged(Script("stands", 1.25), Script("stands", 0.5)) as made:
        assert reached(made) == ("e0", 1.25)
        assert (made.port.budget.allowed, made.port.hedges, made.port.hedges_won) == (1, 1, 0)


def test_who_stands_in_time_is_not_hedged() -> None:
    with staged(Script("stands", 0.5), Script("stands")) as made:
        assert reached(made) == ("e0", 0.5)
        assert (made.dialled, made.port.budget.allowed) == (["e0"], 0)


def test_who_stands_at_that_very_moment_wins_over_a_hedge() -> None:
    for _ in range(20):  # trio draws lots for the order of tasks
        with staged(Script("stands", 1.0), Script("hangs")) as made:
            assert reached(made) == ("e0", 1.0)


def test_who_fails_at_that_very_moment_is_retried_and_not_hedged() -> None:
    hedges = set()
    for _ in range(40):
        with staged(Script("refuses", 1.0), Script("stands", 1.0)) as made:
            assert reached(made) == ("e1", 2.0)
            assert made.port.budget.allowed == 1
            hedges.add(made.port.hedges)
    assert hedges == {0, 1}, "as the lots fall"


def test_of_two_that_stand_at_one_moment_one_is_taken() -> None:
    taken = set()
    for _ in range(40):
        with staged(Script("stands", 1.5, by_bell=True), Script("stands", 0.5, by_bell=True)) as made:
            where, at = reached(made)
            taken.add(where)
            assert (at, made.dialled) == (1.5, ["e0", "e1"])
    assert taken == {"e0", "e1"}


def test_if_the_first_one_fails_the_hedge_is_the_try_and_may_be_hedged() -> None:
    scripts = Script("refuses", 1.5), Script("hangs"), Script("stands", 0.25)
    with staged(*scripts, attempts=2) as made:
        assert reached(made) == ("e2", 2.25)
        assert made.most == 2
        assert made.blamed() == 1


def test_if_the_hedge_fails_the_first_one_goes_on_and_is_not_hedged_again_at_once() -> None:
    with staged(Script("stands", 3.0), Script("refuses", 0.5), Script("stands")) as made:
        # Nobody has failed to answer for another second yet: the next hedge is due then.
        assert reached(made) == ("e2", 2.0)
        assert made.dialled == ["e0", "e1", "e2"]


@pytest.mark.parametrize("attempts_left", [0, 1, 2])
def test_a_hedge_is_a_retry(attempts_left: int) -> None:
    with staged(*[Script("hangs")] * 4, attempts=attempts_left) as made:
        with pytest.raises(Refused) as told:
            reached(made)
        assert told.value.outcome is Outcome.CONNECT_TIMEOUT
        assert made.dialled == ["e0", "e1", "e2"][: attempts_left + 1]
        if attempts_left == 1:
            assert "tried 2 times, as traffic.retries.attempts allows" in told.value.detail


def test_no_hedge_without_budget() -> None:
    with staged(Script("stands", 2), Script("stands"), budget_percent=0, budget_per_s=0) as made:
        assert reached(made) == ("e0", 2)
        assert made.dialled == ["e0"]
        assert (made.port.budget.allowed, made.port.budget.denied, made.port.hedges) == (0, 1, 0)


def test_no_hedge_beyond_the_limit_of_connections() -> None:
    limits = ServiceLimits(connections=1)
    with staged(Script("stands", 2), Script("stands"), limits=limits) as made:
        assert reached(made) == ("e0", 2)
        assert made.port.budget.denied == 0


def test_no_hedge_where_no_other_endpoint_is_and_the_budget_stays_whole() -> None:
    with staged(Script("stands", 2)) as made:
        assert reached(made) == ("e0", 2)
        assert (made.dialled, made.port.budget.allowed) == (["e0"], 0)


def test_no_hedge_to_who_was_tried() -> None:
    with staged(Script("refuses"), Script("hangs"), attempts=9) as made:
        with pytest.raises(Refused):
            reached(made)
        assert [{*made.dialled[:2]}, {*made.dialled[2:4]}] == [{"e0", "e1"}] * 2
        assert made.most == 1


def test_the_time_of_all_tries_holds_and_both_were_silent_that_long() -> None:
    scripts = Script("is unsafe", 3.9), Script("is unsafe", 3.9), Script("hangs"), Script("hangs")
    with staged(*scripts, hedge_after_s=3.0) as made:

        async def scene() -> float:
            with pytest.raises(Refused, match=r"no endpoint answered within 10.0 s; last: 10\.0\.0\.3:80"):
                await made.call()
            return trio.current_time()

        assert made.play(scene) == CONNECT_S
        assert made.is_at_rest()
        assert made.blamed() == 4


def test_exceptions_come_out_as_they_are() -> None:
    with staged(Script("is unsafe", 2), Script("refuses", 2), attempts=1) as made:
        with pytest.raises(Refused) as told:
            reached(made)
        assert told.value.outcome is Outcome.CONNECT_FAILED
    with staged(Script("hangs"), Script("is a bug", 0.5)) as made, pytest.raises(ZeroDivisionError):
        reached(made)


@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.0, 1.5])
def test_a_cancel_comes_out_as_one(at_s: float) -> None:
    with staged(Script("hangs"), Script("hangs")) as made:

        async def scene() -> None:
            with trio.move_on_after(at_s) as scope:
                with pytest.raises(trio.Cancelled):
                    await made.call()
                await trio.lowlevel.checkpoint()
            assert scope.cancelled_caught

        made.play(scene)
        assert made.is_at_rest()
        assert made.blamed() == 0


def test_what_stands_as_the_call_is_called_off_is_closed() -> None:
    for other in (Script("hangs"), Script("stands", 0.5, by_bell=True)):
        with staged(Script("stands", 1.5, by_bell=True), other) as made:

            async def scene(made: Stage = made) -> None:
                with trio.CancelScope() as made.called_off:
                    with pytest.raises(trio.Cancelled):
                        await made.call()
                    await trio.lowlevel.checkpoint()
                assert made.called_off.cancelled_caught
                assert trio.current_time() == 1.5

            made.play(scene)
            assert made.open_ends() == 0
            assert made.is_at_rest()
            assert made.blamed() == 0


class Spawned(trio.abc.Instrument):
    def __init__(self) -> None:
        self.count = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@pytest.mark.parametrize(("hedge_after_s", "attempts_left", "tasks"), [(0, 3, 0), (1, 0, 0), (1, 3, 1)])
def test_off_it_takes_no_task(hedge_after_s: float, attempts_left: int, tasks: int) -> None:
    with staged(Script("stands"), hedge_after_s=hedge_after_s, attempts=attempts_left) as made:

        async def scene() -> int:
            seen = Spawned()
            trio.lowlevel.add_instrument(seen)
            with closing((await made.call()).upstream):
                trio.lowlevel.remove_instrument(seen)
            return seen.count

        assert made.play(scene) == tasks


TIMES = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
HOW: list[How] = ["stands", "refuses", "is unsafe", "is our fault", "hangs"]
SCRIPTS = st.lists(st.builds(Script, st.sampled_from(HOW), TIMES, st.booleans()), min_size=1, max_size=5)


@given(
    scripts=SCRIPTS,
    hedge_after_s=st.sampled_from([0.5, 1.0]),
    attempts_left=st.integers(0, 5),
    cancel_s=st.none() | st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.5]),
    proving=st.booleans(),
)
def test_counts_return_to_zero(
    scripts: list[Script], hedge_after_s: float, attempts_left: int, cancel_s: float | None, proving: bool
) -> None:
    with staged(*scripts, hedge_after_s=hedge_after_s, attempts=attempts_left) as made:
        if proving:
            made.half_open()

        async def scene() -> bool:
            began = trio.current_time()
            with trio.move_on_after(CONNECT_S + 1 if cancel_s is None else cancel_s) as scope:
                try:
                    stands = await made.call()
                except (Refused, Unsafe):
                    assert made.open_ends() == 0
                    in_time = trio.current_time() < CONNECT_S
                    assert not in_time or all(made.scripts[name].how != "stands" for name in made.dialled)
                else:
                    assert stands.hold is not None
                    assert made.open_ends() == made.port.balancer.active == 1
                    assert made.scripts[stands.hold.endpoint.id].how == "stands"
                    assert proving or made.blamed() == made.failures
                    stands.hold.ended(Outcome.CARRIED, 0.0)
                    stands.upstream.close()
            assert trio.current_time() - began <= CONNECT_S
            return scope.cancelled_caught

        cancelled = made.play(scene)
        assert cancel_s is not None or not cancelled
        assert made.open_ends() == 0
        assert made.is_at_rest()
        assert made.most <= 2
        assert len(made.dialled) <= 1 + attempts_left
        assert 0 <= made.port.budget.allowed - (len(made.dialled) - 1) <= 1
        first_round = made.dialled[: len(scripts)]
        assert proving or len({*first_round}) == len(first_round), "nobody twice while somebody is left"
