"""Virtual time: a burst is published once however it is cut, and nothing else waits for it."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from meshtrio.discover.gathering import APART_S, BURST, BURST_S, GATHER_S, LULL_S, Gathering

Piece = tuple[float, int]
"""How long after the piece before, and how many services change at once."""
Publication = tuple[float, int]
"""When, and how many."""


def play(
    pieces: Sequence[Piece],
    *,
    awaited: Callable[[int], bool] = lambda _: False,
    stall_s: Sequence[float] = (),
) -> list[Publication]:
    """Let pieces come, and tell what was published. Before each piece the machine may stand still so long."""

    async def main() -> list[Publication]:
        gathering = Gathering(lambda keys: any(awaited(int(key)) for key in keys))
        found: list[Publication] = []

        async def publish() -> None:
            while True:
                await gathering.ripe()
                found.append((trio.current_time(), len(gathering.take())))
                gathering.published()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            number = 0
            for (after_s, many), still_s in zip(pieces, [*stall_s, *[0.0] * len(pieces)], strict=False):
                await trio.sleep(after_s)
                if still_s:
                    clock.jump(still_s)
                    # Those who slept wake first; what came meanwhile is read then.
                    await trio.sleep(0.001)
                gathering.add({str(at) for at in range(number, number + many)})
                number += many
            await trio.sleep(2 * BURST_S)
            nursery.cancel_scope.cancel()
        return found

    clock = MockClock(autojump_threshold=0)
    return trio.run(main, clock=clock)


_window = st.lists(st.tuples(st.floats(0.01, 0.98), st.integers(1, 80)), max_size=12)


@st.composite
def bursts(draw: st.DrawFn) -> list[Piece]:
    """Make bursts at their limit: the first GATHER_S and each LULL_S after that bring BURST or more, however
    they are cut, and at last come fewer."""
    moments: list[tuple[float, int]] = [(0.0, draw(st.integers(1, BURST)))]
    begins_at = 0.0
    for number in range(draw(st.integers(1, int((BURST_S - GATHER_S) / LULL_S) - 1))):
        lasts_s = LULL_S if number else GATHER_S
        pieces = draw(_window)
        lacking = BURST - sum(many for _, many in pieces) - (0 if number else moments[0][1])
        if lacking > 0:
            pieces = [*pieces, (draw(st.floats(0.01, 0.98)), lacking)]
        moments += sorted((begins_at + share * lasts_s, many) for share, many in pieces)
        begins_at += lasts_s
    moments.append((begins_at + draw(st.floats(0.01, 0.98)) * LULL_S, draw(st.integers(1, BURST - 1))))
    return [(at - before, many) for (before, _), (at, many) in pairwise([(0.0, 0), *moments])]


@given(bursts())
def test_a_burst_is_published_once_however_it_is_cut(pieces: list[Piece]) -> None:
    found = play(pieces)
    assert [many for _, many in found] == [sum(many for _, many in pieces)]
    assert found[0][0] <= sum(after_s for after_s, _ in pieces) + LULL_S + 1e-9


@given(st.integers(1, BURST - 1), st.floats(0, 0.99), st.integers(BURST, 1000))
def test_one_that_begins_with_a_few_is_published_once_too(few: int, share: float, rest: int) -> None:
    assert [many for _, many in play([(0.0, few), (share * GATHER_S, rest)])] == [few + rest]


@given(st.floats(0.15, 0.99), st.floats(0, BURST_S / 4))
def test_the_machine_s_own_stall_does_not_cut_it(share: float, stall_s: float) -> None:
    """Whoever is held up finds two things at once: its time is over, and news have come."""
    pieces = [(0.0, 1), (share * GATHER_S, 999)]
    assert [many for _, many in play(pieces, stall_s=(0.0, max(stall_s, GATHER_S)))] == [1000]
    pieces = [(0.0, 500), (GATHER_S + share * LULL_S, 500)]
    assert [many for _, many in play(pieces, stall_s=(0.0, max(stall_s, LULL_S)))] == [1000]


@given(st.lists(st.tuples(st.floats(GATHER_S / 10, 1), st.integers(1, 2)), min_size=1, max_size=50))
def test_a_few_changes_never_wait_longer_than_one_gathering(pieces: list[Piece]) -> None:
    found, now, came = play(pieces), 0.0, 0
    for after_s, many in pieces:
        now, came = now + after_s, came + many
        published = 0
        at = next(at for at, count in found if (published := published + count) >= came)
        assert at - now <= max(GATHER_S, APART_S) + 1e-9


@given(bursts(), st.floats(0, BURST_S))
def test_what_is_awaited_does_not_wait_for_a_burst(pieces: list[Piece], at_s: float) -> None:
    now, number, awaited_at = 0.0, 0, 0.0
    awaited = -1
    for after_s, many in pieces:
        now, number = now + after_s, number + many
        awaited, awaited_at = number - 1, now
        if now >= at_s:
            break
    found, seen = play(pieces, awaited=lambda one: one == awaited), 0
    at = next(at for at, many in found if (seen := seen + many) > awaited)
    assert at - awaited_at <= APART_S + 1e-9


def test_a_burst_without_end_is_published_now_and_then() -> None:
    found = play([(0.001, 1)] * int(3000 * BURST_S))
    times = [0.0, *(at for at, _ in found)]
    assert max(after - before for before, after in pairwise(times)) <= BURST_S + APART_S + 0.01
    assert 3 <= len(found) <= 5


def test_a_hundred_changes_a_second_are_no_burst() -> None:
    found = play([(0.01, 1)] * 500)
    assert max(many for _, many in found) <= 6
    assert len(found) >= 500 / 6
    apart_s = [after - before for (before, _), (after, _) in pairwise(found)]
    assert max(apart_s) <= APART_S + 1e-9, (
        "their sources have gathered them: they wait for no other gathering"
    )


def test_two_snapshots_are_apart_however_urgent() -> None:
    found = play([(0.0, 1), *[(0.005, 1)] * 20], awaited=lambda _: True)
    assert found[0] == (0.0, 1)
    assert min(after - before for (before, _), (after, _) in pairwise(found)) >= APART_S - 1e-9


def test_nothing_is_published_where_nothing_came_or_somebody_took_it() -> None:
    async def main() -> None:
        gathering = Gathering(lambda _: True)
        gathering.hurry()
        gathering.add(set())
        with trio.move_on_after(1) as scope:
            await gathering.ripe()
        assert scope.cancelled_caught
        gathering.add({"a"})
        assert (len(gathering), gathering.take(), len(gathering)) == (1, ["a"], 0)

    trio.run(main, clock=MockClock(autojump_threshold=0))
