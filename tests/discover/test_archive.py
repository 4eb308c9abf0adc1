"""Shell. Registrations on a real disk: what is acknowledged stays, whatever dies, whatever the clocks do."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from meshtrio.address import Address
from meshtrio.catalog.registered import Registrations
from meshtrio.catalog.registrant import Name, Registrant
from meshtrio.catalog.service import Endpoint
from meshtrio.catalog.stream import Stream
from meshtrio.discover import archive as module
from meshtrio.discover.archive import GRACE_S, Archive
from meshtrio.discover.state import Row, Store
from meshtrio.discover.state_file import StateError
from tests.support.tree import TREE

T = TypeVar("T")
A = Name("default/web", "a")


def registrant(id: str = "a", ttl_s: int = 60) -> Registrant:
    return Registrant(Name("default/web", id), Endpoint(id, Address.of("10.0.0.1", 80)), 80, ttl_s=ttl_s)


class Disk(Store):
    """The real store, that counts its commits, and fails when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.uses = 0
        self.fails = False
        self.gate = trio.Event()
        self.gate.set()

    async def _use(self, do: Callable[[sqlite3.Connection], T]) -> T:
        self.uses += 1
        if self.fails:
            raise StateError("told to")
        await self.gate.wait()
        return await super()._use(do)


class Kept:
    """Registrations and their archive, as a registrar has them."""

    def __init__(self, disk: Store | None, bound: int = 1000) -> None:
        self.held = Registrations(bound)
        self.stream = Stream("registered", "registrations", since=0.0)
        self.archive = Archive(self.held, disk, self.stream)

    async def put(self, one: Registrant) -> bool:
        self.held.put(one, trio.current_time())
        self.archive.changed(one.name)
        return await self.archive.durable(one.name)

    def renew(self, name: Name) -> None:
        held = self.held.renew(name, trio.current_time())
        assert held
        self.archive.renewed(held)

    def left_s(self, name: Name = A) -> float:
        held = self.held.held(name)
        assert held
        return held.deadline - trio.current_time()


@asynccontextmanager
async def keeping(disk: Store | None, bound: int = 1000) -> AsyncIterator[Kept]:
    kept = Kept(disk, bound)
    await kept.archive.flush()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.archive.keep)
        yield kept
        nursery.cancel_scope.cancel()


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    disk = Disk(tmp_path / "state.db")
    yield disk
    await disk.aclose()


async def read_again(disk: Store) -> Kept:
    kept = Kept(disk)
    assert await kept.archive.flush()
    return kept


async def ends(disk: Store) -> dict[str, float]:
    return {row.id: row.until - time.time() for row in await disk.registrations()}


async def test_what_was_acknowledged_is_there_again(disk: Disk) -> None:
    async with keeping(disk) as kept:
        assert await kept.put(registrant("b"))
        assert await kept.put(registrant("a"))
        assert await kept.put(registrant("c"))
        kept.held.delete(Name("default/web", "c"))
        kept.archive.changed(Name("default/web", "c"))
        assert await kept.archive.durable(Name("default/web", "c"))
        again = await read_again(disk)
    assert [held.registrant for held in again.held] == [registrant("b"), registrant("a")]


async def test_what_comes_together_is_one_commit(disk: Disk) -> None:
    async with keeping(disk) as kept:
        await kept.put(registrant("first"))
        before = disk.uses
        answers: list[bool] = []

        async def put(id: str) -> None:
            answers.append(await kept.put(registrant(id)))

        async with trio.open_nursery() as clients:
            for number in range(500):
                clients.start_soon(put, f"id-{number}")
        assert answers == [True] * 500
        assert disk.uses - before <= 3
        assert len(await disk.registrations()) == 501


async def test_nothing_is_written_while_nothing_changes(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_S", 0.01)
    async with keeping(disk) as kept:
        await kept.put(registrant())
        before = disk.uses
        for _ in range(5):
            kept.renew(A)
            await trio.sleep(0.03)
        assert disk.uses == before


async def test_a_heartbeat_is_written_after_a_third_of_the_time(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE_S", 0.01)
    async with keeping(disk) as kept:
        await kept.put(registrant(ttl_s=60))
        await kept.put(registrant("short", ttl_s=10))
        for later_s, written in ((19.0, False), (21.0, True)):
            for id in ("a", "short"):
                held = kept.held.held(Name("default/web", id))
                assert held
                kept.archive.renewed(held._replace(deadline=held.deadline + later_s))
                kept.held.put(held.registrant, trio.current_time() + later_s)
            await trio.sleep(0.1)
            found = await ends(disk)
            assert found["a"] == pytest.approx(81 if written else 60, abs=1)
            assert found["short"] == pytest.approx(10, abs=1)


async def test_after_a_restart_there_is_time_to_be_heard(disk: Disk) -> None:
    now = time.time()
    said = b'{"address": "10.0.0.1:80", "ttl_s": 60}'
    await disk.write(
        [
            Row("default/web", "dead-for-days", now - 1e6, said),
            Row("default/web", "soon", now + 3, said),
            Row("default/web", "fresh", now + 40, said),
            Row("default/web", "clock-went-back", now + 3600, said),
            Row("default/web", "short", now - 5, said.replace(b"60", b"1")),
            Row("default/web", "for-ever", 0.0, said.replace(b"60", b"0")),
        ]
    )
    again = await read_again(disk)
    left = {held.registrant.name.id: again.left_s(held.registrant.name) for held in again.held}
    assert left == {
        "dead-for-days": pytest.approx(GRACE_S, abs=1),
        "soon": pytest.approx(GRACE_S, abs=1),
        "fresh": pytest.approx(40, abs=1),
        "clock-went-back": pytest.approx(60, abs=1),
        "short": pytest.approx(GRACE_S, abs=1),
        "for-ever": math.inf,
    }


async def test_a_row_that_says_nothing_is_skipped_and_named(disk: Disk) -> None:
    await disk.write([Row("default/web", "bad", 0.0, b'{"address": 1}'), Row("Default", "worse", 0.0, b"{")])
    async with keeping(disk) as kept:
        assert await kept.put(registrant())
    again = await read_again(disk)
    assert [held.registrant for held in again.held] == [registrant()]
    assert again.stream.skipped == 2
    assert "Default worse in the state file" in again.stream.last_skipped


async def test_more_than_there_may_be_are_not_taken_in(disk: Disk) -> None:
    async with keeping(disk) as kept:
        for id in "abc":
            await kept.put(registrant(id))
    fewer = Kept(disk, bound=2)
    await fewer.archive.flush()
    assert len(fewer.held) == 2
    assert "web c in the state file: there may be no more" in fewer.stream.last_skipped


async def test_without_a_disk_nothing_is_durable_and_nobody_waits() -> None:
    async with keeping(None) as kept:
        before = trio.current_time()
        assert not await kept.put(registrant())
        assert trio.current_time() - before < 1


async def test_a_disk_that_does_not_want_holds_nobody_and_gets_everything_later(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", (0.05, 0.05))
    async with keeping(disk) as kept:
        assert await kept.put(registrant("a"))
        assert await kept.put(registrant("gone"))
        disk.fails = True
        assert not await kept.put(registrant("b"))
        assert "told to" in kept.stream.last_error
        kept.held.delete(Name("default/web", "gone"))
        kept.archive.changed(Name("default/web", "gone"))
        before = trio.current_time()
        assert not await kept.put(registrant("c"))
        assert trio.current_time() - before < 0.04
        disk.fails = False
        while not kept.archive.current:
            await trio.sleep(0.01)
        assert sorted(await ends(disk)) == ["a", "b", "c"]
        assert await kept.put(registrant("d"))
        assert sorted(await ends(disk)) == ["a", "b", "c", "d"]


async def test_what_comes_while_everything_is_written_is_written_next(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", (0.01, 0.01))
    async with keeping(disk) as kept:
        disk.fails = True
        assert not await kept.put(registrant("a"))
        disk.fails, disk.gate, before = False, trio.Event(), disk.uses
        while disk.uses == before:
            await trio.sleep(0.01)
        kept.held.put(registrant("b"), trio.current_time())
        kept.archive.changed(Name("default/web", "b"))
        disk.gate.set()
        assert await kept.archive.durable(Name("default/web", "b"))
        assert sorted(await ends(disk)) == ["a", "b"]


async def test_the_last_change_of_a_batch_is_read_last(disk: Disk) -> None:
    kept = Kept(disk)
    await kept.archive.flush()
    for one in (registrant("a"), registrant("b"), registrant("a", ttl_s=61)):
        kept.held.put(one, trio.current_time())
        kept.archive.changed(one.name)
    await kept.archive.flush()
    assert [row.id for row in await disk.registrations()] == ["b", "a"]


async def test_a_disk_that_could_not_be_read_at_first_is_not_overwritten(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", (0.05, 0.05))
    async with keeping(disk) as kept:
        await kept.put(registrant("old"))
        await kept.put(registrant("both", ttl_s=60))
    disk.fails = True
    async with keeping(disk) as kept:
        assert not await kept.put(registrant("both", ttl_s=70))
        disk.fails = False
        while not kept.archive.current:
            await trio.sleep(0.01)
        again = await read_again(disk)
    known = {held.registrant.name.id: held.registrant.ttl_s for held in again.held}
    assert known == {"old": 60, "both": 70}


async def test_a_clean_stop_loses_nothing(disk: Disk) -> None:
    kept = Kept(disk)
    await kept.archive.flush()
    # Nobody keeps: as if all of this came in the last moment.
    kept.held.put(registrant(), trio.current_time())
    kept.archive.changed(A)
    await kept.archive.flush()
    kept.held.put(registrant(), trio.current_time() + 30)
    held = kept.held.held(A)
    assert held
    kept.archive.renewed(held)
    await kept.archive.flush()
    assert await ends(disk) == {"a": pytest.approx(90, abs=1)}


async def test_a_write_that_was_cancelled_is_made_good_by_the_last_one(disk: Disk) -> None:
    kept = Kept(disk)
    await kept.archive.flush()
    kept.held.put(registrant(), trio.current_time())
    kept.archive.changed(A)
    with trio.CancelScope() as scope:
        scope.cancel()
        await kept.archive.flush()
    assert not kept.archive.current
    assert await kept.archive.flush()
    assert list(await ends(disk)) == ["a"]


CHILD = """
import sys, trio
from tests.discover.test_archive import Store, keeping, registrant

async def main():
    store = Store(sys.argv[1])
    async with keeping(store) as kept:
        async def client(letter):
            for number in range(10_000):
                if await kept.put(registrant(f"{letter}-{number}", ttl_s=0)):
                    print(f"{letter}-{number}", flush=True)
        async with trio.open_nursery() as clients:
            for letter in "abcdefgh":
                clients.start_soon(client, letter)

trio.run(main)
"""


@pytest.fixture
def registering(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, "-c", CHILD, str(tmp_path / "state.db")]
    with subprocess.Popen(argv, cwd=TREE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_kill_9_loses_nothing_that_was_acknowledged(
    registering: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert registering.stdout
    told = [registering.stdout.readline().strip() for _ in range(40)]
    os.kill(registering.pid, signal.SIGKILL)
    told += registering.stdout.read().split()
    assert registering.wait() == -signal.SIGKILL
    store = Store(str(tmp_path / "state.db"))
    again = await read_again(store)
    await store.aclose()
    assert len(told) >= 40
    assert set(told) - {held.registrant.name.id for held in again.held} == set()
