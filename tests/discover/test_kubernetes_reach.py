"""Ring 2, real threads and sockets. Threads end with their tasks, and a server that is back is found."""

import importlib
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from meshtrio.config.discovery import Kubernetes
from meshtrio.discover import kubernetes_reach
from meshtrio.discover.kubernetes_reach import Reach, find_reach
from tests.support.kubernetes import ApiServer, Wrong
from tests.support.kubernetes_side import QUICK

PACE = msgspec.structs.replace(QUICK, look_s=0.05)


@asynccontextmanager
async def reaching(config: Path, streams: int = 1) -> AsyncIterator[Reach]:
    reach = await find_reach(Kubernetes(kubeconfig=str(config)), PACE, streams)
    async with trio.open_nursery() as looking:
        looking.start_soon(reach.look_out)
        yield reach
        looking.cancel_scope.cancel()
    reach.close()


async def waited(reach: Reach, delay_s: float, *, was_out_of_reach: bool = False) -> float:
    began = time.perf_counter()
    await reach.wait(delay_s, was_out_of_reach=was_out_of_reach)
    return time.perf_counter() - began


async def test_what_a_thread_gives_or_raises_comes_back(config: Path) -> None:
    async with reaching(config) as reach:
        assert await reach.in_thread(lambda: 42, lambda: None) == 42
        with pytest.raises(ZeroDivisionError):
            await reach.in_thread(lambda: 1 // 0, lambda: None)


async def test_a_cancelled_task_cuts_and_waits_for_its_thread(config: Path) -> None:
    cut, ended = threading.Event(), threading.Event()

    def block() -> None:
        cut.wait(5)
        time.sleep(0.05)
        ended.set()

    async with reaching(config) as reach:
        with trio.move_on_after(0.05) as scope:
            await reach.in_thread(block, cut.set)
        assert scope.cancelled_caught
        assert ended.is_set()


async def test_a_thread_that_cannot_be_cut_holds_nobody_up(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_reach, "ENDING_S", 0.1)
    stuck = threading.Event()
    async with reaching(config) as reach:
        began = time.perf_counter()
        with trio.move_on_after(0.05):
            await reach.in_thread(lambda: stuck.wait(5), lambda: None)
        assert 0.14 < time.perf_counter() - began < 1
        stuck.set()


async def test_many_streams_have_a_thread_each(config: Path) -> None:
    """Trio's own limit is 40."""
    together = threading.Barrier(60, timeout=5)
    async with reaching(config, 60) as reach, trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(reach.in_thread, together.wait, together.abort)


async def test_a_wait_is_a_wait_while_the_server_is_there(api: ApiServer, config: Path) -> None:
    async with reaching(config) as reach:
        assert 0.28 < await waited(reach, 0.3) < 2
        assert len(api.requests) >= 2


async def test_a_wait_ends_when_the_server_is_back(api: ApiServer, config: Path) -> None:
    async with reaching(config) as reach:
        api.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waited, reach, 20)
            await trio.sleep(0.3)
            began = time.perf_counter()
            api.start()
        assert time.perf_counter() - began < 4


async def test_who_missed_it_does_not_have_to_see_it_missing(api: ApiServer, config: Path) -> None:
    async with reaching(config) as reach:
        assert await waited(reach, 20, was_out_of_reach=True) < 4


@pytest.mark.parametrize(
    ("status", "is_there"), [(200, True), (401, True), (403, True), (404, True), (500, False)]
)
async def test_who_counts_as_there(api: ApiServer, config: Path, status: int, is_there: bool) -> None:
    api.readyz = Wrong(status)
    async with reaching(config) as reach:
        assert (await waited(reach, 0.8, was_out_of_reach=True) < 0.75) is is_there


async def test_who_has_waited_enough_ends_no_look_of_others(api: ApiServer, config: Path) -> None:
    api.freeze()
    async with reaching(config) as reach:
        for _ in range(4):
            await waited(reach, PACE.look_s * 1.5)
        api.thaw()
        assert await waited(reach, 20, was_out_of_reach=True) < 4


async def test_nobody_is_asked_while_nobody_waits(api: ApiServer, config: Path) -> None:
    async with reaching(config) as reach:
        await waited(reach, 0.2)
        await trio.sleep(0.1)
        asked = len(api.requests)
        await trio.sleep(0.3)
        assert len(api.requests) == asked


async def test_streams_share_their_looks(api: ApiServer, config: Path) -> None:
    async with reaching(config, 8) as reach:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(waited, reach, 0.3)
        assert len(api.requests) <= 13


def test_nothing_heavy_is_imported_before_it_is_wanted() -> None:
    """The agent imports follow_kubernetes only if it is configured, and even then in its loop."""
    code = "import sys, meshtrio.discover.kubernetes; print({'kubernetes', 'urllib3'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
    assert importlib.import_module("meshtrio.discover.kubernetes_client")
