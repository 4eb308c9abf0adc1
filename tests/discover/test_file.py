"""A real file, edited in all the ways people and machines edit files."""

# ruff: noqa: ASYNC240 - these are the edits themselves, of a few bytes

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from meshtrio.config.fault import Fault, Faults
from meshtrio.discover import file as module
from meshtrio.discover.file import Followed, Fresh, Spoilt, follow

LOOK_EVERY_S, SETTLE_S = 0.02, 0.01


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: the clock is the real one, for the file is read in a thread."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", LOOK_EVERY_S)
    monkeypatch.setattr(module, "SETTLE_S", SETTLE_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one")
    return path


def loud(text: str) -> str:
    if "!" in text:
        raise Faults([Fault("x", "is loud")])
    return text.upper()


class News:
    """What arrived, or None if nothing does within a few looks."""

    def __init__(self, receive: trio.MemoryReceiveChannel[Fresh[str] | Spoilt]) -> None:
        self._receive = receive

    async def next(self) -> str:
        with trio.fail_after(5):
            news = await self._receive.receive()
        return news.value if isinstance(news, Fresh) else f"spoilt: {news}"

    async def none(self) -> bool:
        with trio.move_on_after(LOOK_EVERY_S * 6):
            await self._receive.receive()
            return False
        return True


@asynccontextmanager
async def following(path: Path, known: str | None = None) -> AsyncIterator[News]:
    send, receive = trio.open_memory_channel[Fresh[str] | Spoilt](4)
    async with trio.open_nursery() as nursery, receive:
        nursery.start_soon(follow, Followed(str(path), loud, 100), send, known)
        yield News(receive)
        nursery.cancel_scope.cancel()


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def by_link(path: Path, text: str) -> None:
    """As a ConfigMap is updated: the name is a link to a link, which is renamed."""
    folder = path.parent / f"v_{text}"
    folder.mkdir()
    (folder / "file").write_text(text)
    (path.parent / "next").symlink_to(folder)
    (path.parent / "next").rename(path.parent / "now")
    if not path.is_symlink():
        path.unlink()
        path.symlink_to("now/file")


@pytest.mark.parametrize("write", [in_place, by_rename, by_link])
async def test_every_change_is_news_once(path: Path, write: Callable[[Path, str], None]) -> None:
    async with following(path) as news:
        assert await news.next() == "ONE"
        for text in ("two", "six", "a longer one"):
            write(path, text)
            assert await news.next() == text.upper()
        assert await news.none()


async def test_a_touch_is_no_news(path: Path) -> None:
    async with following(path) as news:
        assert await news.next() == "ONE"
        os.utime(path, (1, 1))
        by_rename(path, "one")
        assert await news.none()


async def test_what_the_caller_has_read_is_no_news(path: Path) -> None:
    async with following(path, known="one") as news:
        assert await news.none()
        path.write_text("two")
        assert await news.next() == "TWO"


@pytest.mark.parametrize("change_first", [False, True])
async def test_a_second_write_with_the_same_stamp_is_seen(path: Path, change_first: bool) -> None:
    async with following(path) as news:
        assert await news.next() == "ONE"
        if change_first:
            await trio.sleep(LOOK_EVERY_S * 4)
            path.write_text("two")
            assert await news.next() == "TWO"
        status = path.stat()
        path.write_text("six")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert await news.next() == "SIX"


async def test_another_file_with_the_same_stamp_is_seen(path: Path) -> None:
    async with following(path, known="one") as news:
        assert await news.none()
        status = path.stat()
        new = path.with_suffix(".new")
        new.write_text("six")
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        new.rename(path)
        assert await news.next() == "SIX"


async def test_a_missing_file_is_told_once_and_may_come_back(path: Path) -> None:
    path.unlink()
    async with following(path) as news:
        gone = f"spoilt: {path} cannot be read: No such file or directory"
        assert await news.next() == gone
        assert await news.none()
        path.write_text("one")
        assert await news.next() == "ONE"
        path.unlink()
        assert await news.next() == gone
        path.write_text("one")
        assert await news.next() == "ONE"


async def test_a_faulty_text_is_told_once_with_its_faults(path: Path) -> None:
    async with following(path) as news:
        assert await news.next() == "ONE"
        path.write_text("one!")
        assert await news.next() == "spoilt: x is loud"
        os.utime(path, (1, 1))
        assert await news.none()
        path.write_text("x" * 101)
        assert (await news.next()).endswith("is larger than 100 bytes")
        path.write_text("one")
        assert await news.next() == "ONE"


@contextmanager
def written_slowly(path: Path) -> Iterator[Callable[[str], None]]:
    with path.open("w") as file:

        def write(part: str) -> None:
            file.write(part)
            file.flush()

        yield write


async def test_a_file_that_is_being_written_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wide enough that a busy machine does not make a pause between two writes look like the end.
    monkeypatch.setattr(module, "SETTLE_S", 0.3)
    async with following(path) as news:
        assert await news.next() == "ONE"
        with written_slowly(path) as write:
            for part in "two parts":
                write(part)
                await trio.sleep(0.03)
        assert await news.next() == "TWO PARTS"
        assert await news.none()


async def test_a_file_that_never_rests_is_read_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLE_LOOKS", 3)
    monkeypatch.setattr(module, "SETTLE_S", 0.05)

    async def scribble() -> None:
        for count in range(10_000):
            path.write_text("abc"[count % 3])
            await trio.sleep(0.005)

    async with following(path) as news, trio.open_nursery() as nursery:
        assert await news.next() == "ONE"
        nursery.start_soon(scribble)
        assert await news.next() in ("A", "B", "C", "")
        nursery.cancel_scope.cancel()


async def test_it_ends_when_nobody_receives(path: Path) -> None:
    send, receive = trio.open_memory_channel[Fresh[str] | Spoilt](0)
    receive.close()
    with trio.fail_after(5):
        await follow(Followed(str(path), loud), send)


async def test_the_channel_is_closed_when_it_is_cancelled(path: Path) -> None:
    send, receive = trio.open_memory_channel[Fresh[str] | Spoilt](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, Followed(str(path), loud), send)
        await receive.receive()
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.EndOfChannel):
        await receive.receive()
    receive.close()


async def test_a_full_channel_keeps_the_latest_for_later(path: Path) -> None:
    send, receive = trio.open_memory_channel[Fresh[str] | Spoilt](0)
    async with trio.open_nursery() as nursery, receive:
        nursery.start_soon(follow, Followed(str(path), loud), send)
        await trio.testing.wait_all_tasks_blocked(0.1)
        path.write_text("two")
        path.write_text("six")
        heard = []
        with trio.move_on_after(1):
            async for news in receive:
                assert isinstance(news, Fresh)
                heard.append(news.value)
        assert heard == ["ONE", "SIX"]
        nursery.cancel_scope.cancel()


async def test_a_pipe_is_not_waited_for(path: Path) -> None:
    """Nobody writes to it, and who opens it waits."""
    async with following(path) as news:
        assert await news.next() == "ONE"
        path.unlink()
        os.mkfifo(path)
        assert await news.next() == f"spoilt: {path} is no regular file, which could be read again"
        path.unlink()
        path.write_text("two")
        assert await news.next() == "TWO"
