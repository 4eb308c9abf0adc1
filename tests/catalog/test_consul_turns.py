"""Who is asked when: a few services with a place each, and many that share the places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshtrio.catalog.consul_turns import BACKOFF_MAX_S, Turn, Turns, backoff_s, index_after


def names(count: int) -> list[str]:
    return [f"s{at:03}" for at in range(count)]


def begun(turns: Turns, now: float = 0.0) -> list[str]:
    return [turn.name for turn in turns.start(now)]


def all_answered(turns: Turns, count: int, now: float = 0.0) -> None:
    """Let each be asked once, and nobody be asked at the end."""
    seen = set()
    for _ in range(count):
        for turn in turns.start(now):
            seen.add(turn.name)
            turns.done(turn.name, now + 1)
    assert len(seen) == count


def test_with_a_place_for_each_all_are_asked_all_the_time() -> None:
    turns = Turns(8)
    turns.become(names(7), 0)
    assert not turns.crowded
    assert sorted(begun(turns)) == names(7)
    assert begun(turns) == []
    turns.done("s003", 1)
    assert turns.start(1) == [Turn("s003", blocks=True)]


def test_crowded_they_take_turns_and_nobody_is_forgotten() -> None:
    turns = Turns(8)
    turns.become(names(30), 0)
    assert turns.crowded
    all_answered(turns, 30)
    asked: list[str] = []
    for round_ in range(1, 6):
        batch = begun(turns, round_)
        assert len(batch) <= 8
        asked += batch
        for name in batch:
            turns.done(name, round_)
    assert len(set(asked)) == 30


def test_who_has_changed_is_asked_at_once_without_blocking() -> None:
    turns = Turns(8)
    turns.become(names(30), 0)
    all_answered(turns, 30)
    watched = begun(turns, 1)
    assert len(watched) == 7
    idle = next(name for name in names(30) if name not in watched)
    turns.hurry([idle])
    assert turns.start(1) == [Turn(idle, blocks=False)]


def test_one_who_is_asked_in_that_moment_is_asked_again() -> None:
    turns = Turns(8)
    turns.become(names(30), 0)
    all_answered(turns, 30)
    watched = begun(turns, 1)[0]
    turns.hurry([watched])
    assert turns.start(1) == []
    turns.done(watched, 1)
    assert Turn(watched, blocks=False) in turns.start(1)


def test_with_a_place_for_each_a_change_makes_no_second_question() -> None:
    turns = Turns(8)
    turns.become(["web"], 0)
    assert turns.start(0) == [Turn("web", blocks=False)]
    turns.done("web", 0)
    assert turns.start(0) == [Turn("web", blocks=True)]
    turns.hurry(["web", "unknown"])
    turns.done("web", 1)
    assert turns.start(1) == [Turn("web", blocks=True)]


def test_rests_are_kept_and_ended_by_a_call() -> None:
    turns = Turns(8)
    turns.become(["web"], 0)
    begun(turns)
    turns.done("web", 0, rest_s=10)
    assert begun(turns, 9) == []
    assert turns.next_start() == 10
    turns.wake(9)
    assert begun(turns, 9) == ["web"]


def test_one_who_fails_does_not_come_back_early_by_having_changed() -> None:
    turns = Turns(8)
    turns.become(names(30), 0)
    [first, *others] = begun(turns)
    turns.hurry([first])
    turns.done(first, 0, rest_s=10)
    for name in others:
        turns.done(name, 0)
    all_answered(turns, 29, 1)
    assert first not in begun(turns, 9)


def test_those_gone_are_asked_no_more_and_named_if_they_are_being_asked() -> None:
    turns = Turns(8)
    turns.become(["web", "db"], 0)
    begun(turns)
    turns.done("db", 0)
    assert turns.become([], 0) == {"web"}
    turns.done("web", 0)
    assert begun(turns, 99) == []
    assert turns.next_start() is None


def test_one_who_goes_and_comes_back_while_it_is_asked_is_asked_again() -> None:
    turns = Turns(8)
    turns.become(["web"], 0)
    begun(turns)
    turns.become([], 0)
    turns.become(["web"], 0)
    assert begun(turns) == []
    turns.done("web", 0)
    assert turns.start(0) == [Turn("web", blocks=False)]


def test_with_all_places_taken_nothing_is_to_be_started() -> None:
    turns = Turns(2)
    turns.become(names(5), 0)
    begun(turns)
    assert turns.next_start() is None


steps = st.lists(
    st.one_of(
        st.tuples(st.just("become"), st.sets(st.integers(0, 19))),
        st.tuples(st.just("hurry"), st.sets(st.integers(0, 19), max_size=3)),
        st.tuples(st.just("done"), st.integers(0, 99)),
        st.tuples(st.just("fail"), st.integers(0, 99)),
        st.tuples(st.just("wake"), st.none()),
    ),
    max_size=60,
)


@given(st.integers(2, 12), steps)
def test_never_too_many_never_one_twice_and_all_in_the_end(
    places: int, steps: list[tuple[str, object]]
) -> None:
    turns, under_way, wanted, now = Turns(places), list[str](), set[str](), 0.0
    for what, about in steps:
        now += 1
        if what == "become":
            wanted = {f"s{one}" for one in about}  # type: ignore[attr-defined]
            assert turns.become(wanted, now) <= set(under_way) - wanted
        elif what == "hurry":
            turns.hurry(f"s{one}" for one in about)  # type: ignore[attr-defined]
        elif what == "wake":
            turns.wake(now)
        elif under_way:
            name = under_way.pop(int(about) % len(under_way))  # type: ignore[call-overload]
            turns.done(name, now, rest_s=5.0 if what == "fail" else 0.0)
        under_way += begun(turns, now)
        assert len(under_way) <= places
        assert len(set(under_way)) == len(under_way)
    seen: set[str] = set()
    for _ in range(3 + len(wanted)):
        now += 10
        for name in under_way:
            turns.done(name, now)
        under_way = begun(turns, now)
        seen |= set(under_way)
    assert seen == wanted


@pytest.mark.parametrize(("before", "got", "after"), [(0, 7, 7), (7, 7, 7), (7, 9, 9), (9, 7, 0), (7, 1, 0)])
def test_an_index_that_goes_backwards_begins_anew(before: int, got: int, after: int) -> None:
    assert index_after(before, got) == after


def test_the_back_off_doubles_up_to_half_a_minute() -> None:
    assert [backoff_s(failures, 0.5) for failures in range(1, 8)] == pytest.approx([1, 2, 4, 8, 16, 30, 30])
    assert backoff_s(10_000, 0.5) == pytest.approx(BACKOFF_MAX_S)
    assert (backoff_s(1, 0), backoff_s(1, 1)) == pytest.approx((0.8, 1.2))
