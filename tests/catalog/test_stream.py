"""Ring 1. What a stream's record remembers, and when a source counts as lost or found."""

import itertools

import pytest

from meshtrio.catalog.stream import BACK_AFTER_S, LOST_AFTER_S, State, Stream, is_lost


def stream(state: State, since: float, *, essential: bool = True) -> Stream:
    made = Stream("consul", "catalog", since=since, state=state)
    made.essential = essential
    return made


def test_it_remembers_how_far_and_since_when() -> None:
    one = Stream("kubernetes", "services", since=10)
    assert (one.state, one.essential) == (State.STARTING, True)
    one.lives("41", 12)
    assert (one.state, one.since, one.position) == (State.LIVE, 12, "41")
    one.lives("42", 15)
    assert (one.since, one.position) == (12, "42")
    one.heard(3, 16)
    one.heard(2, 17)
    assert (one.events, one.last_event) == (5, 17)


def test_failing_one_way_and_then_another_is_one_failure() -> None:
    one = stream(State.LIVE, 1)
    one.failed("no connection", 20)
    one.failed("403", 25, refused=True)
    one.failed("no connection", 30)
    assert (one.state, one.since, one.errors, one.last_error) == (State.RETRYING, 20, 3, "no connection")
    one.failed("403", 31, refused=True)
    assert one.state is State.REFUSED
    one.lives("7", 40)
    assert (one.state, one.since, one.last_error) == (State.LIVE, 40, "403")


def test_starting_and_failing_is_one_silence() -> None:
    one = Stream("consul", "catalog", since=10)
    one.failed("no connection", 12)
    assert one.since == 10


def test_everything_of_it_is_shown() -> None:
    one = stream(State.LIVE, 1, essential=False)
    one.failed("no connection", 20)
    shown = one.shown()
    assert shown["state"] == "retrying"
    assert shown["essential"] is False
    assert {"source", "name", "since", "position", "last_event", "last_error", "last_skipped"} <= shown.keys()


def test_what_others_say_is_kept_short() -> None:
    one = stream(State.LIVE, 0)
    one.failed("x" * 10_000, 1)
    one.skips("y" * 10_000)
    one.skips("the last one")
    assert len(one.last_error) == 500
    assert (one.skipped, one.last_skipped) == (2, "the last one")


@pytest.mark.parametrize("state", [State.STARTING, State.RETRYING, State.REFUSED])
def test_a_source_is_lost_when_a_stream_fails_for_a_while(state: State) -> None:
    failing = [stream(State.LIVE, 0), stream(state, 100)]
    assert not is_lost(failing, 100 + LOST_AFTER_S - 0.01, was_lost=False)
    assert is_lost(failing, 100 + LOST_AFTER_S, was_lost=False)
    assert is_lost(failing, 100, was_lost=True)


def test_it_is_found_when_all_are_well_for_a_while() -> None:
    well = [stream(State.LIVE, 0), stream(State.LIVE, 100)]
    assert is_lost(well, 100 + BACK_AFTER_S - 0.01, was_lost=True)
    assert not is_lost(well, 100 + BACK_AFTER_S, was_lost=True)
    assert not is_lost(well, 100, was_lost=False)


def test_what_only_adds_to_it_does_not_count() -> None:
    for state, was_lost in itertools.product(State, (False, True)):
        added = [stream(State.LIVE, 0), stream(state, 100, essential=False)]
        assert not is_lost(added, 1000, was_lost=was_lost)
    lost = [stream(State.RETRYING, 0), stream(State.LIVE, 0, essential=False)]
    assert is_lost(lost, 1000, was_lost=False)


def test_no_streams_are_no_loss() -> None:
    assert not is_lost([], 0, was_lost=False)
    assert not is_lost([], 0, was_lost=True)
