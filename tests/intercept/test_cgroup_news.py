"""World. Groups that are made are heard of, where the kernel keeps its groups."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from meshtrio.intercept import cgroup_news
from meshtrio.intercept.cgroup_news import CgroupNews
from tests.support.namespace_door import cgroup

pytestmark = pytest.mark.world


@pytest.fixture
def news() -> Iterator[CgroupNews]:
    before = os.listdir("/proc/self/fd")
    with CgroupNews() as line:
        yield line
    assert os.listdir("/proc/self/fd") == before


def make(*paths: Path) -> None:
    for path in paths:
        path.mkdir()
        path.rmdir()


async def test_a_group_that_is_made_is_heard_of_and_others_are_not(news: CgroupNews) -> None:
    with cgroup() as here, cgroup() as there:
        wanted, other = here / "shop.service", there / "till.service"
        heard = trio.Event()

        async def listen() -> None:
            await news.made([wanted, other, Path("/there-is-none/at-all")])
            heard.set()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                await wait_all_tasks_blocked()
                make(here / "cart.service", there / "shop.service")
                await wait_all_tasks_blocked()
                assert not heard.is_set()
                make(other)
                await heard.wait()
            make(wanted)
            await news.made([wanted])  # it was made since it was first waited for


async def test_what_is_waited_for_no_more_is_not_heard_of(news: CgroupNews) -> None:
    with cgroup() as here, cgroup() as there:
        one, two = here / "one", there / "two"
        for paths in ([one, two], [two]):
            with trio.move_on_after(0.01):
                await news.made(paths)
        make(one)
        with trio.move_on_after(0.05) as scope:
            await news.made([one])
        assert scope.cancelled_caught


async def test_a_folder_that_is_made_anew_is_watched_again(news: CgroupNews) -> None:
    with cgroup() as here:
        inner = here / "inner"
        for _ in range(3):
            inner.mkdir()
            with trio.move_on_after(0.01):
                await news.made([inner / "shop.service"])
            make(inner / "shop.service")
            with trio.fail_after(10):
                await news.made([inner / "shop.service"])
            inner.rmdir()
        with trio.move_on_after(0.01):
            await news.made([])
        assert news._folders == {}


async def test_without_inotify_nothing_is_heard(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing:
        def inotify_init1(self, flags: int) -> int:
            return -1

    monkeypatch.setattr(cgroup_news, "_libc", Nothing())
    with CgroupNews() as news, trio.move_on_after(5) as scope:
        await news.made([Path("/sys/fs/cgroup/shop.service")])
    assert scope.cancelled_caught
