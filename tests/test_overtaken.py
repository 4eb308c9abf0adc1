"""World. Who loses to a hedge in silence: dead endpoints are blamed for it, and slow ones are not."""

import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from meshtrio import overtaken as module
from meshtrio.balance.breaker_table import State
from meshtrio.config.schema import Timeouts
from meshtrio.config.traffic import Breaker, Retries, Traffic
from meshtrio.outcome import Outcome
from tests.support.scene import Scene, on_its_way, recorded, scene
from tests.support.worker_side import VIP, address_of, found, serving, talk
from tests.test_attempts import failures, is_at_rest, web

pytestmark = pytest.mark.kernel
TRY_S = 0.4


@pytest.fixture
def records() -> Iterator[list[dict[str, Any]]]:
    with recorded() as seen:
        yield seen


class Full:
    """A listener with a full backlog: connects to it are silent until there is room."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.address = address_of(self.listener)
        self._fillers = [socket.socket() for _ in range(2)]
        for one in self._fillers:
            one.setblocking(False)
            one.connect_ex(self.listener.getsockname())

    async def make_room(self) -> None:
        """Let those in that wait; the kernel asks for them again within a second."""
        self.listener.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(self.listener)
            self.listener.accept()[0].close()

    def close(self) -> None:
        for one in (self.listener, *self._fillers):
            one.close()


@contextlib.asynccontextmanager
async def waiting(made: Scene, try_s: float = TRY_S, **breaker: Any) -> AsyncIterator[trio.Nursery]:
    """Hedge at once, and wait for who is overtaken, as a worker does."""
    timeouts = Timeouts(connect_s=8, connect_try_s=try_s, idle_s=0)
    traffic = Traffic(
        retries=Retries(hedge_after_s=0.05, budget_per_s=100),
        breaker=Breaker(**breaker),
        slow_start_s=0,
    )
    made.configure(traffic=traffic, timeouts=timeouts)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.site.overtaken.run)
        await trio.testing.wait_all_tasks_blocked()
        yield nursery
        nursery.cancel_scope.cancel()


async def call(made: Scene) -> None:
    async with on_its_way(made) as client:
        assert await talk(client, b"hello") == b"hello"


async def until_at_rest(made: Scene) -> None:
    while not is_at_rest(web(made)):
        await trio.sleep(0.01)


async def test_who_stays_silent_is_blamed_once_its_time_is_over(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        with contextlib.closing(Full()) as nobody:
            async with waiting(made):
                made.catalog[VIP] = found(nobody.address, server)
                await call(made)
                assert (failures(made), web(made).hedges_won) == (0, 1)
                assert web(made).balancer.active == 1, "the claim of who is waited for"
                await until_at_rest(made)
                assert failures(made) == 1
    assert [record["outcome"] for record in records] == ["carried"]


async def test_a_dead_endpoint_is_cut_off_though_all_its_calls_are_hedged(
    records: list[dict[str, Any]],
) -> None:
    """Also when it is tried again, half open: it does not stay that for ever."""
    async with scene() as made, serving() as server:
        with contextlib.closing(Full()) as nobody:
            async with waiting(made, consecutive=2, open_s=1):
                made.catalog[VIP] = found(nobody.address, server)
                for _ in range(4):
                    await call(made)
                await until_at_rest(made)
                breaker = web(made).breakers.states(time.monotonic())["e0"]
                assert (breaker.state, breaker.stand.streak) == (State.OPEN, 1)
                hedges = web(made).hedges
                await call(made)
                await call(made)
                assert web(made).hedges == hedges
                while web(made).breakers.states(time.monotonic())["e0"].state is State.OPEN:
                    await trio.sleep(0.02)
                while web(made).hedges == hedges:
                    await call(made)
                await until_at_rest(made)
                breaker = web(made).breakers.states(time.monotonic())["e0"]
                assert (breaker.state, breaker.stand.streak) == (State.OPEN, 2)


async def test_who_is_merely_slow_is_not_blamed(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        with contextlib.closing(Full()) as slow:
            async with waiting(made, try_s=8, consecutive=1) as nursery:
                made.catalog[VIP] = found(slow.address, server)
                await call(made)
                assert web(made).hedges_won == 1
                nursery.start_soon(slow.make_room)
                await until_at_rest(made)
                assert failures(made) == 0


async def test_who_says_no_at_last_is_blamed(records: list[dict[str, Any]]) -> None:
    async with scene() as made, serving() as server:
        with contextlib.closing(Full()) as full:
            async with waiting(made, try_s=8):
                made.catalog[VIP] = found(full.address, server)
                await call(made)
                assert (failures(made), web(made).balancer.active) == (0, 1)
                full.close()
                await until_at_rest(made)
                assert failures(made) == 1


@pytest.mark.parametrize("room", [0, 1])
async def test_there_is_room_for_some_and_the_end_closes_them(
    room: int, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", room)
    before = len(os.listdir("/proc/self/fd"))
    async with scene() as made, serving() as server:
        with contextlib.closing(Full()) as nobody:
            async with waiting(made, try_s=8):
                made.catalog[VIP] = found(nobody.address, server)
                for _ in range(4):
                    await call(made)
                assert web(made).hedges_won == 2
                assert web(made).balancer.active == room
            assert is_at_rest(web(made))
            assert failures(made) == 0
    assert len(os.listdir("/proc/self/fd")) == before
    assert {record["outcome"] for record in records} == {Outcome.CARRIED.value}
