"""When everything is asked anew: Consul is back, has another leader, or we have another token."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from meshtrio.catalog.stream import State, Stream
from meshtrio.discover.consul_client import Answer
from meshtrio.discover.consul_pulse import BEAT_APART_S, BEAT_S, Pulse, rest_s
from meshtrio.discover.consul_wire import Failed, Why


class Scripted:
    """A client whose leader is what the test says, without a socket, for the clock jumps."""

    def __init__(self) -> None:
        self.says: str | Failed | None = "a:8300"
        self.changed = False
        self.losses = 0
        self.renewed = 0
        self.beats: list[float] = []

    async def leader(self) -> str:
        self.beats.append(trio.current_time())
        if self.says is None:
            await trio.sleep_forever()
        if isinstance(self.says, Failed):
            raise self.says
        return str(self.says)

    def files_changed(self) -> bool:
        return self.changed

    async def renew(self) -> bool:
        self.renewed += 1
        was, self.changed = self.changed, False
        return was


class Watched:
    def __init__(self) -> None:
        self.client = Scripted()
        self.restarts = 0
        self.record = Stream("consul", "leader", since=0)
        self.pulse = Pulse(self.client, self.record, self._restarted)  # type: ignore[arg-type]

    def _restarted(self) -> None:
        self.restarts += 1


@asynccontextmanager
async def beating() -> AsyncIterator[Watched]:
    watched = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.pulse.run)
        yield watched
        nursery.cancel_scope.cancel()


async def test_a_steady_leader_is_asked_for_and_changes_nothing(autojump_clock: MockClock) -> None:
    async with beating() as watched:
        await trio.sleep(10.1)
        assert watched.client.beats == pytest.approx([0, 2, 4, 6, 8, 10])
        assert (watched.restarts, watched.record.position) == (0, "a:8300")
        assert watched.record.state is State.LIVE


DOWN: list[Failed | None] = [Failed(Why.NETWORK, "nobody"), Failed(Why.SERVER, "no leader"), None]


@pytest.mark.parametrize("down", DOWN)
async def test_all_is_asked_anew_when_it_is_back(autojump_clock: MockClock, down: Failed | None) -> None:
    async with beating() as watched:
        await trio.sleep(1)
        watched.client.says = down
        await trio.sleep(300)
        assert watched.record.state is State.RETRYING
        assert watched.restarts == 0
        watched.client.says = "a:8300"
        await trio.sleep(2 * BEAT_S + 0.1)
        assert watched.restarts == 1
        await trio.sleep(60)
        assert watched.restarts == 1


async def test_all_is_asked_anew_of_another_leader(autojump_clock: MockClock) -> None:
    async with beating() as watched:
        await trio.sleep(1)
        watched.client.says = "b:8300"
        await trio.sleep(BEAT_S)
        assert watched.restarts == 1


async def test_all_is_asked_anew_of_a_consul_that_nobody_missed(autojump_clock: MockClock) -> None:
    async with beating() as watched:
        await trio.sleep(1)
        watched.client.losses = 1
        await trio.sleep(BEAT_S)
        assert watched.restarts == 1
        await trio.sleep(60)
        assert watched.restarts == 1


async def test_other_files_are_read_and_all_is_asked_anew(autojump_clock: MockClock) -> None:
    async with beating() as watched:
        await trio.sleep(1)
        watched.client.changed = True
        await trio.sleep(BEAT_S)
        assert (watched.restarts, watched.client.renewed) == (1, 1)


async def failing(why: Why) -> Answer:
    raise Failed(why, "says why")


async def blocking() -> Answer:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_refusal_has_the_token_read_again(autojump_clock: MockClock) -> None:
    async with beating() as watched:
        await trio.sleep(1)
        with pytest.raises(Failed):
            await watched.pulse.asked("web", failing(Why.REFUSED))
        await trio.sleep(BEAT_S)
        assert (watched.restarts, watched.client.renewed) == (0, 1)


@pytest.mark.parametrize(("why", "beats"), [(Why.NETWORK, True), (Why.SERVER, True), (Why.GARBLED, False)])
async def test_a_failure_makes_it_look_at_once(autojump_clock: MockClock, why: Why, beats: bool) -> None:
    async with beating() as watched:
        await trio.sleep(1)
        for _ in range(100):
            with pytest.raises(Failed):
                await watched.pulse.asked("web", failing(why))
        await trio.sleep(BEAT_APART_S - 0.1)
        assert len(watched.client.beats) == (2 if beats else 1)


async def test_questions_and_rests_end_when_all_is_asked_anew(autojump_clock: MockClock) -> None:
    async with beating() as watched:
        ended: list[float] = []

        async def note(wait: Callable[[], Any], gives: object = None) -> None:
            assert await wait() is gives
            ended.append(trio.current_time())

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(note, lambda: watched.pulse.asked("web", blocking()))
                nursery.start_soon(note, lambda: watched.pulse.asked("db", blocking()))
                nursery.start_soon(note, lambda: watched.pulse.rest(Why.REFUSED, 9), True)
                await trio.sleep(1)
                watched.client.says = "b:8300"
        assert ended == pytest.approx([BEAT_S] * 3)


async def test_one_question_may_be_given_up(autojump_clock: MockClock) -> None:
    watched = Watched()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.pulse.asked, "web", blocking())
        await trio.sleep(1)
        watched.pulse.interrupt({"web", "unknown"})
    assert trio.current_time() == 1


async def test_a_rest_that_nobody_ends_gives_no_reason_to_hope(autojump_clock: MockClock) -> None:
    assert await Watched().pulse.rest(Why.SERVER, 3) is False
    assert trio.current_time() > 1


def test_rests_depend_on_the_kind_of_failure() -> None:
    for _ in range(50):
        assert 12 <= rest_s(Why.REFUSED, 1) <= 18
        assert 0.8 <= rest_s(Why.NETWORK, 1) <= 1.2
        assert 24 <= rest_s(Why.SERVER, 99) <= 36
