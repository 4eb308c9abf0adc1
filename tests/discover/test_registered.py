"""Shell. The source of registered endpoints: what the real hub hears of it, and when."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.lowlevel
import trio.testing

from meshtrio.address import Address
from meshtrio.catalog.merge import Merge
from meshtrio.catalog.registered import Full, NotOpen
from meshtrio.catalog.registrant import Name, Registrant
from meshtrio.catalog.service import Endpoint
from meshtrio.catalog.snapshot import Snapshot
from meshtrio.catalog.stream import State
from meshtrio.catalog.vips import Vips
from meshtrio.config.discovery import Registration
from meshtrio.discover.archive import WRITE_S
from meshtrio.discover.hub import Hub
from meshtrio.discover.registered import START_S, STOP_S, Registrar
from meshtrio.discover.state import Row, Store, Until

A = Name("default/web", "a")


def registrant(id: str = "a", at: str = "10.0.0.1:80", ttl_s: int = 30) -> Registrant:
    address = Address.parse(at)
    return Registrant(Name("default/web", id), Endpoint(id, address), address.port, ttl_s=ttl_s)


class Told:
    """A hub, and what was said to it."""

    def __init__(self) -> None:
        self.hub = Hub(Merge(Vips()), self._publish)
        self.published = 0

    def _publish(self, snapshot: Snapshot) -> None:
        self.published += 1

    def ids(self, key: str = "default/web") -> list[str]:
        service = self.hub.merge.merged(key)
        return [endpoint.id for endpoint in service.endpoints] if service else []


@asynccontextmanager
async def registering(
    told: Told, store: Store | None = None, endpoints: int = 100
) -> AsyncIterator[Registrar]:
    registrar = Registrar(Registration(endpoints=endpoints), told.hub.sink("registered"), store)
    async with trio.open_nursery() as nursery:
        await nursery.start(registrar.run)
        yield registrar
        nursery.cancel_scope.cancel()


async def test_the_catalog_hears_what_is_put_and_deleted(autojump_clock: trio.testing.MockClock) -> None:
    told = Told()
    async with registering(told) as registrar:
        answer = await registrar.put(registrant())
        assert answer == (registrant(), 30.0, False, True)
        await trio.sleep(0.001)
        assert told.ids() == ["a"]
        assert (await registrar.put(registrant("b", "10.0.0.2:80"))).created
        assert not (await registrar.put(registrant("b", "10.0.0.3:80"))).created
        await trio.sleep(0.02)
        assert told.ids() == ["a", "b"]
        assert await registrar.delete(A)
        assert not await registrar.delete(A)
        await trio.sleep(0.02)
        assert told.ids() == ["b"]
        stream = told.hub.streams["registered"]["registrations"]
        assert (stream.state, stream.position) == (State.LIVE, "1 held")


async def test_a_heartbeat_moves_the_end_and_publishes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told = Told()
    async with registering(told) as registrar, trio.open_nursery() as nursery:
        nursery.start_soon(told.hub.run)
        await registrar.put(registrant())
        await trio.sleep(1)
        published, events = told.published, told.hub.streams["registered"]["registrations"].events
        for _ in range(5):
            await trio.sleep(20)
            assert (await registrar.put(registrant())).remaining_s == 30
            await trio.sleep(20)
            renewed = await registrar.renew(A)
            assert renewed
            assert renewed.remaining_s == 30
        found = registrar.find(A)
        assert found
        assert found.registrant == registrant()
        assert told.published == published
        assert told.hub.streams["registered"]["registrations"].events == events
        nursery.cancel_scope.cancel()


async def test_who_is_not_heard_expires_in_time(autojump_clock: trio.testing.MockClock) -> None:
    told = Told()
    async with registering(told) as registrar:
        await registrar.put(registrant(ttl_s=30))
        await registrar.put(registrant("for-ever", "10.0.0.2:80", ttl_s=0))
        await trio.sleep(29.9)
        assert told.ids() == ["a", "for-ever"]
        await trio.sleep(0.5)
        assert told.ids() == ["for-ever"]
        assert registrar.find(A) is None
        assert await registrar.renew(A) is None
        await trio.sleep(100)
        assert told.ids() == ["for-ever"]


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_wall_clock_that_jumps_expires_nobody(
    hours: int, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, wall = Told(), time.time()
    async with registering(told) as registrar:
        await registrar.put(registrant())
        await trio.sleep(1)
        monkeypatch.setattr(time, "time", lambda: wall + hours * 3600 + trio.current_time())
        await trio.sleep(28)
        assert told.ids() == ["a"]
        await trio.sleep(2)
        assert told.ids() == []


async def test_full_is_said() -> None:
    async with registering(Told(), endpoints=1) as registrar:
        await registrar.put(registrant())
        with pytest.raises(Full, match="1 endpoints are registered"):
            await registrar.put(registrant("b"))
        await registrar.put(registrant())


async def test_nothing_is_registered_before_the_start_or_after_the_end() -> None:
    async with registering(Told()) as registrar:
        pass
    for one in (registrar, Registrar(Registration(), Told().hub.sink("registered"), None)):
        with pytest.raises(NotOpen):
            await one.put(registrant())
        with pytest.raises(NotOpen):
            await one.renew(A)
        with pytest.raises(NotOpen):
            await one.delete(A)
        with pytest.raises(NotOpen):
            one.find(A)


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "state.db"))
    async with registering(Told(), store) as registrar:
        assert (await registrar.put(registrant("new"))).durable
        assert (await registrar.put(registrant("old", "10.0.0.2:80"))).durable
        await registrar.put(registrant("gone", "10.0.0.3:80"))
        await registrar.delete(Name("default/web", "gone"))
    await store.aclose()
    told = Told()
    async with registering(told, store) as registrar:
        assert told.ids() == ["new", "old"]
        assert told.hub.streams["registered"]["registrations"].state is State.LIVE
        found = registrar.find(Name("default/web", "new"))
        assert found
        assert found.durable
        assert found.remaining_s > 20
    await store.aclose()


class Slow(Store):
    async def write(self, rows: Iterable[Row], *, untils: Iterable[Until] = (), whole: bool = False) -> None:
        await trio.sleep(0.05)
        await super().write(rows, untils=untils, whole=whole)


@pytest.mark.parametrize("moment", ["in a commit", "between commits"])
async def test_what_is_put_while_we_are_stopped_is_on_the_disk(tmp_path: Path, moment: str) -> None:
    store = Slow(str(tmp_path / "state.db"))
    registrar = Registrar(Registration(), Told().hub.sink("registered"), store)
    answers = []

    async def put(id: str) -> None:
        answers.append((await registrar.put(registrant(id))).durable)

    async with trio.open_nursery() as admin, trio.open_nursery() as inner:
        await inner.start(registrar.run)
        if moment == "between commits":
            await put("first")
        for number in range(20):
            admin.start_soon(put, f"id-{number}")
        if moment == "in a commit":
            await trio.sleep(0.02)
        await trio.lowlevel.checkpoint()
        inner.cancel_scope.cancel()
    assert len(answers) >= 20
    assert all(answers)
    assert len(await store.registrations()) == len(answers)
    await store.aclose()


class Hanging(Store):
    async def registrations(self) -> list[Row]:
        return await trio.sleep_forever()


async def test_a_disk_that_hangs_holds_neither_the_start_nor_the_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    told = Told()
    before = trio.current_time()
    async with registering(told, Hanging(str(tmp_path / "state.db"))) as registrar:
        assert trio.current_time() - before == START_S
        assert not (await registrar.put(registrant())).durable
        await trio.sleep(0.1)
        assert told.ids() == ["a"]
        before = trio.current_time()
    assert trio.current_time() - before <= STOP_S + WRITE_S


async def test_a_large_service_is_told_once_for_many_changes(autojump_clock: trio.testing.MockClock) -> None:
    told = Told()
    async with registering(told, endpoints=5000) as registrar, trio.open_nursery() as clients:
        for number in range(2000):
            endpoint = Endpoint(str(number), Address.of("10.0.0.1", 1 + number))
            one = msgspec.structs.replace(registrant(str(number)), endpoint=endpoint, port=80)
            clients.start_soon(registrar.put, one)
        await trio.sleep(0.05)
        assert len(told.ids()) == 2000
        assert told.hub.streams["registered"]["registrations"].events <= 2
