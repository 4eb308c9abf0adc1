"""Shell. What is kept is there after a restart, a full disk, a locked file. Real SQLite."""

import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from meshtrio.discover.state import Row, Store, Until
from meshtrio.discover.state_file import StateError

A, B = Row("default/web", "a", 5.0, b"{}"), Row("default/web", "b", 0.0, b'{"x": 1}')


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    store = Store(str(path))
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


async def test_registrations_are_there_again_those_that_changed_last_at_the_end(path: Path) -> None:
    async with opened(path) as store:
        assert await store.registrations() == []
        await store.write([A, B])
        await store.write([A._replace(said=b"[]")])
    async with opened(path) as store:
        assert await store.registrations() == [B, A._replace(said=b"[]")]


async def test_a_new_end_is_no_change(path: Path) -> None:
    async with opened(path) as store:
        await store.write([A, B])
        await store.write([], untils=[Until(9.0, "default/web", "a"), Until(9.0, "default/web", "unknown")])
        assert await store.registrations() == [A._replace(until=9.0), B]


async def test_rows_go_by_name_or_all_at_once(path: Path) -> None:
    async with opened(path) as store:
        await store.write([A, B])
        await store.write([A._replace(said=None), Row("default/web", "unknown", 0.0, None)])
        assert await store.registrations() == [B]
        await store.write([A], whole=True)
        assert await store.registrations() == [A]


async def test_vips_are_there_again_and_a_number_has_one_owner(path: Path) -> None:
    async with opened(path) as store:
        assert await store.vips() == {}
        await store.keep_vips({"a/b": 1, "a/c": 2})
        await store.keep_vips({})
        await store.keep_vips({"a/d": 2, "a/b": 3})
    async with opened(path) as store:
        assert await store.vips() == {"a/d": 2, "a/b": 3}


async def test_a_fault_is_logged_once_and_its_end_too(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with opened(path) as holder, opened(path) as store:
        await holder.write([A])
        for _ in range(2):
            with pytest.raises(StateError):
                await store.registrations()
        assert "locked" in store.fault
        assert await store.vips() == {}
        await store.keep_vips({"a/b": 1})
        await holder.aclose()
        await store.keep_vips({"a/c": 2})
        assert await store.vips() == {"a/b": 1, "a/c": 2}
    assert [record.message for record in caplog.records] == [
        "the state file cannot be used; what is registered now would not survive a restart",
        "the state file can be used again",
    ]


async def test_a_disk_that_hangs_holds_nobody_who_is_cancelled(path: Path) -> None:
    released = threading.Event()

    def hanging() -> Iterator[Row]:
        released.wait(5)
        yield A

    async with opened(path) as store:
        with trio.move_on_after(0.05) as scope:
            await store.write(hanging())
        assert scope.cancelled_caught
        released.set()
        # The thread still has the file; the next one waits for it, and sees what it did.
        assert await store.registrations() == [A]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.world
async def test_a_full_disk_loses_nothing_that_was_written(small_disk: Path) -> None:
    async with opened(small_disk / "state.db") as store:
        await store.write([A])
        filler = small_disk / "filler"
        with filler.open("wb") as file:
            while True:
                try:
                    os.write(file.fileno(), b"x" * 4096)
                except OSError:
                    break
        with pytest.raises(StateError, match="full"):
            await store.write([B._replace(said=b"x" * 50_000)])
        await store.keep_vips({f"default/s-{n}": n for n in range(1, 500)})
        assert "full" in store.fault
        assert await store.registrations() == [A]
        filler.unlink()
        await store.write([B])
        await store.keep_vips({"a/b": 5000})
        assert store.fault == ""
        assert len(await store.vips()) == 500
    async with opened(small_disk / "state.db") as store:
        assert await store.registrations() == [A, B]


@pytest.mark.world
async def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    with (small_disk / "filler").open("wb") as file:
        while True:
            try:
                os.write(file.fileno(), b"x" * 4096)
            except OSError:
                break
    async with opened(small_disk / "state.db") as store:
        with pytest.raises(StateError, match="full"):
            await store.registrations()
        (small_disk / "filler").unlink()
        await store.write([A])
        assert await store.registrations() == [A]
        assert sorted(os.listdir(small_disk)) == ["state.db", "state.db-wal"]
