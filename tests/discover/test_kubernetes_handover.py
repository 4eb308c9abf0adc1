"""Ring 2, real threads. What a thread puts, a task takes: all of it, in order, and never too much at once."""

import threading
import time

import pytest
import trio

from meshtrio.discover.kubernetes_handover import BOUND, Handover, HandoverClosedError


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
