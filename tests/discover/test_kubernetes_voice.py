"""Ring 2. When what is known is said: whole at first, then as it comes, and never at the cost of others."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from meshtrio.catalog.kubernetes import Reducer
from meshtrio.catalog.kubernetes_answer import Put, read_page
from meshtrio.catalog.kubernetes_objects import Kind, Object
from meshtrio.catalog.kubernetes_topic import Topic, topics
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.service import Service
from meshtrio.catalog.vips import Vips
from meshtrio.discover import kubernetes_voice
from meshtrio.discover.hub import Hub, Sink
from meshtrio.discover.kubernetes_voice import Voice
from tests.support.kubernetes_objects import service

SERVICES, SLICES, PODS, SPACES = (
    Topic(kind) for kind in (Kind.SERVICE, Kind.SLICE, Kind.POD, Kind.NAMESPACE)
)


class Heard(Sink):
    """A sink that remembers each call."""

    def __init__(self) -> None:
        super().__init__(Hub(Merge(Vips()), lambda _: None), "kubernetes")
        self.calls: list[set[str]] = []

    def say(self, changed: Any, *, complete: bool = False) -> None:
        self.calls.append(set(changed))
        super().say(changed, complete=complete)


@pytest.fixture
def sink() -> Heard:
    return Heard()


@pytest.fixture
def voice(sink: Heard) -> Voice:
    return Voice(sink, Reducer(), topics((), pods=True), 8.0)


def made(name: str, namespace: str = "default", version: int = 1) -> Object:
    import json

    one = service(name, namespace=namespace)
    one["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": str(version)}
    body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": [one]}).encode()
    (change,) = read_page(Kind.SERVICE, body).changes
    assert isinstance(change, Put)
    return change.object


def putting(voice: Voice, *objects: Object) -> Iterator[set[str]]:
    return (voice.reducer.put(one) for one in objects)


async def test_the_first_word_waits_for_all(
    voice: Voice, sink: Heard, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(voice.speak)
    await voice.fold(putting(voice, made("a"), made("b")))
    for topic in (SERVICES, SPACES, PODS):
        nursery.start_soon(voice.listed, topic)
        await trio.testing.wait_all_tasks_blocked()
        assert sink.calls == []
    await voice.listed(SLICES)
    assert sink.calls == [{"default/a", "default/b"}]
    assert trio.current_time() == 0


async def test_what_only_adds_is_not_waited_for_long(
    voice: Voice, sink: Heard, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(voice.speak)
    await voice.fold(putting(voice, made("a")))
    nursery.start_soon(voice.listed, SERVICES)
    await voice.listed(SLICES)
    await trio.testing.wait_all_tasks_blocked()
    assert (sink.calls, trio.current_time()) == ([{"default/a"}], 8)


async def test_a_failure_is_a_word_too(
    voice: Voice, sink: Heard, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(voice.speak)
    voice.heard(PODS)
    voice.heard(SPACES)
    await voice.fold(putting(voice, made("a")))
    nursery.start_soon(voice.listed, SERVICES)
    await voice.listed(SLICES)
    assert (sink.calls, trio.current_time()) == ([{"default/a"}], 0)


async def test_without_what_serves_them_services_are_not_said(
    voice: Voice, sink: Heard, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(voice.speak)
    for topic in (PODS, SPACES, SLICES):
        voice.heard(topic)
    await voice.fold(putting(voice, made("a")))
    await voice.listed(SERVICES)
    await trio.sleep(100)
    assert sink.calls == []
    await voice.listed(SLICES)
    await trio.testing.wait_all_tasks_blocked()
    assert sink.calls == [{"default/a"}]


async def test_namespaces_do_not_wait_for_each_other(
    sink: Heard, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    voice = Voice(sink, Reducer(), topics(("shop", "bank"), pods=False), 8.0)
    nursery.start_soon(voice.speak)
    await voice.fold(putting(voice, made("a", "shop"), made("a", "bank")))
    for kind in (Kind.SERVICE, Kind.SLICE):
        nursery.start_soon(voice.listed, Topic(kind, "shop"))
    await trio.sleep(20)
    assert sink.calls == [{"shop/a"}]


async def test_then_news_are_said_as_they_come_and_once(
    voice: Voice,
    sink: Heard,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kubernetes_voice, "AT_ONCE_S", 60.0)
    nursery.start_soon(voice.speak)
    for topic in (PODS, SPACES, SLICES, SERVICES):
        nursery.start_soon(voice.listed, topic)
    await trio.testing.wait_all_tasks_blocked()
    await voice.fold(putting(voice, *(made("a", version=at) for at in range(2, 50)), made("b")))
    await trio.testing.wait_all_tasks_blocked()
    assert sink.calls == [{"default/a", "default/b"}]
    await voice.fold(iter([voice.reducer.gone(Kind.SERVICE, "default", "a")]))
    await trio.testing.wait_all_tasks_blocked()
    assert set(sink.said()) == {"default/b"}


async def test_what_nobody_knows_any_more_is_taken_back(
    voice: Voice, sink: Heard, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    sink.say({"default/old": Service("old"), "default/a": Service("a")})
    nursery.start_soon(voice.speak)
    await voice.fold(putting(voice, made("a")))
    for topic in (PODS, SPACES, SLICES):
        voice.heard(topic)
    await trio.sleep(20)
    assert sink.said() == {"default/old", "default/a"}
    nursery.start_soon(voice.listed, SLICES)
    await voice.listed(SERVICES)
    await trio.testing.wait_all_tasks_blocked()
    assert sink.said() == {"default/a"}


async def test_slices_come_after_the_pods_that_they_name(
    voice: Voice, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await voice.turn_of(PODS)
    await voice.turn_of(SERVICES)
    assert trio.current_time() == 0
    await voice.turn_of(SLICES)
    assert trio.current_time() == 4
    voice.heard(PODS)
    await voice.turn_of(SLICES)
    assert trio.current_time() == 4


async def test_a_long_folding_lets_others_run(sink: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_voice, "AT_ONCE_S", 0.002)
    voice = Voice(sink, Reducer(), topics((), pods=False), 0)
    folded: list[int] = []

    async def fold() -> None:
        await voice.fold(folding())
        folded.append(1)

    def folding() -> Iterator[set[str]]:
        for _ in range(100):
            time.sleep(0.0005)
            yield {"default/a"}

    turns = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fold)
        nursery.start_soon(fold)
        while len(folded) < 2:
            await trio.lowlevel.checkpoint()
            turns += 1
    # Each folding takes 50 ms at least, and every 2 ms there is a turn for others.
    assert turns > 30
