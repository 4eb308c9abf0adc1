"""What is due comes in order, once."""

import math

from hypothesis import given
from hypothesis import strategies as st

from meshtrio.catalog.agenda import Agenda


def test_the_soonest_comes_first_and_only_when_due() -> None:
    agenda: Agenda[str] = Agenda()
    assert (agenda.soonest, agenda.take(math.inf)) == (math.inf, None)
    agenda.enter("late", 5)
    agenda.enter("soon", 2)
    assert (len(agenda), agenda.soonest) == (2, 2)
    assert agenda.take(1.9) is None
    assert [agenda.take(5), agenda.take(5), agenda.take(5)] == [("soon", 2), ("late", 5), None]


def test_who_is_entered_again_is_due_then_and_only_then() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.enter("a", 1)
    agenda.enter("a", 3)
    assert (len(agenda), agenda.take(2), agenda.take(3), agenda.take(9)) == (1, None, ("a", 3), None)


def test_who_is_struck_is_due_no_more_until_entered_again() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.enter("a", 1)
    agenda.strike("a")
    agenda.strike("b")
    assert agenda.take(9) is None
    agenda.enter("a", 1)
    assert agenda.take(9) == ("a", 1)


def test_entering_again_and_again_costs_no_memory() -> None:
    agenda: Agenda[int] = Agenda()
    for count in range(10_000):
        agenda.enter(count % 10, count)
    assert len(agenda._heap) <= 2 * 10 + 65
    assert [agenda.take(math.inf) for _ in range(11)] == [*((n % 10, n) for n in range(9_990, 10_000)), None]


STEPS = st.one_of(
    st.tuples(st.just("enter"), st.integers(0, 5), st.integers(0, 20)),
    st.tuples(st.just("strike"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("take"), st.just(0), st.integers(0, 20)),
)


@given(steps=st.lists(STEPS, max_size=40))
def test_it_is_a_dictionary_that_gives_its_least(steps: list[tuple[str, int, int]]) -> None:
    agenda: Agenda[int] = Agenda()
    model: dict[int, float] = {}
    for what, thing, time in steps:
        if what == "enter":
            agenda.enter(thing, time)
            model[thing] = time
        elif what == "strike":
            agenda.strike(thing)
            model.pop(thing, None)
        else:
            taken = agenda.take(time)
            due = {one: at for one, at in model.items() if at <= time}
            if taken is None:
                assert not due
            else:
                assert taken[1] == model.pop(taken[0]) == min(due.values())
        assert len(agenda) == len(model)
        assert agenda.soonest == min(model.values(), default=math.inf)
        assert sorted(agenda.overdue(10)) == sorted(one for one, at in model.items() if at < 10)
