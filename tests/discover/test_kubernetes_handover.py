"""Ring 2, real threads. What a thread puts, a task takes: all of it, in order, and never too much at once."""

import threading
import time

import pytest
import trio

from meshtrio.discover.kubernetes_handover import BOUND, GAP_S, Handover, HandoverClosedError


async def test_all_is_taken_in_its_order() -> None:
    handover = Handover[int]()

    def put() -> None:
        for value in range(2000):
            handover.put(value)

    thread = threading.Thread(target=put)
    thread.start()
    taken: list[int] = []
    while len(taken) < 2000:
        some = await handover.take()
        assert 0 < len(some) <= BOUND
        taken += some
    assert taken == list(range(2000))
    thread.join()


async def test_what_comes_fast_wakes_the_task_once() -> None:
    handover = Handover[int]()
    for value in range(BOUND):
        handover.put(value)
    assert await handover.take() == list(range(BOUND))
    with trio.move_on_after(0.02) as scope:
        await handover.take()
    assert scope.cancelled_caught


async def test_full_means_that_the_thread_waits() -> None:
    handover = Handover[int]()
    put: list[int] = []

    def fill() -> None:
        for value in range(BOUND + 1):
            handover.put(value)
            put.append(value)

    thread = threading.Thread(target=fill)
    thread.start()
    await trio.sleep(0.05)
    assert len(put) == BOUND
    assert len(await handover.take()) == BOUND
    assert await handover.take() == [BOUND]
    thread.join(1)
    assert not thread.is_alive()


async def test_closing_lets_nothing_in_and_what_is_in_out() -> None:
    handover = Handover[int]()
    handover.put(1)
    handover.close()
    with pytest.raises(HandoverClosedError):
        handover.put(2)
    assert await handover.take() == [1]
    assert await handover.take() == []


async def test_closing_frees_a_thread_that_waits_for_room() -> None:
    handover = Handover[int]()
    for value in range(BOUND):
        handover.put(value)
    ended: list[str] = []

    def put() -> None:
        with pytest.raises(HandoverClosedError):
            handover.put(0)
        ended.append("closed")

    thread = threading.Thread(target=put)
    thread.start()
    await trio.sleep(0.02)
    handover.close()
    thread.join(1)
    assert ended == ["closed"]


async def test_closing_wakes_a_task_that_waits() -> None:
    handover = Handover[int]()
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handover.take)
        await trio.sleep(0.02)
        handover.close()
    assert time.perf_counter() - began < 1


async def test_while_values_go_on_they_come_many_at_a_time() -> None:
    handover = Handover[int](rest_s=0.1)

    def put() -> None:
        began = time.monotonic()
        for value in range(100):
            # One comes each 10 ms, or is there already.
            time.sleep(max(0.0, began + value * 0.01 - time.monotonic()))
            handover.put(value)

    thread = threading.Thread(target=put)
    thread.start()
    turns: list[list[int]] = []
    while sum(map(len, turns)) < 100:
        turns.append(await handover.take())
    thread.join()
    assert [value for turn in turns for value in turn] == list(range(100))
    assert len(turns[0]) == 1, "what comes after a silence is taken at once"
    assert len(turns) <= 50


async def test_just_after_a_silence_nothing_is_rested_through() -> None:
    handover = Handover[int](rest_s=3600)
    taken: list[int] = []

    def put() -> None:
        for value in range(10):
            handover.put(value)
            time.sleep(2 * GAP_S)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, put)
            while len(taken) < 10:
                taken += await handover.take()
    assert taken == list(range(10))


async def test_a_burst_is_not_rested_through() -> None:
    handover = Handover[int](rest_s=3600)

    def put() -> None:
        for value in range(10 * BOUND):
            handover.put(value)

    taken: list[int] = []

    async def take() -> None:
        while some := await handover.take():
            taken.extend(some)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.to_thread.run_sync(put)
            handover.close()
    assert taken == list(range(10 * BOUND))


async def test_closing_frees_a_thread_that_rests() -> None:
    handover = Handover[int](first_s=3600, rest_s=3600)
    taken: list[int] = []

    def put() -> None:
        with pytest.raises(HandoverClosedError):
            for value in range(1000):
                handover.put(value)
                time.sleep(2 * GAP_S)

    async def take() -> None:
        while some := await handover.take():
            taken.extend(some)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(trio.to_thread.run_sync, put)
        await trio.sleep(0.2)
        handover.close()
    assert taken == list(range(len(taken)))
    assert 1 < len(taken) < 8, "it rests after the first turn"
