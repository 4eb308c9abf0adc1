"""World. Is there a new agent? Asked of real Unix sockets that answer well, badly, or not at all."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from meshtrio.successor import successor_ready

Answer = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def agent_at(path: Path, answer: Answer) -> AsyncIterator[str]:
    bound = trio.socket.socket(trio.socket.AF_UNIX)
    await bound.bind(str(path))
    bound.listen()
    async with trio.open_nursery() as serving:
        serving.start_soon(trio.serve_listeners, answer, [trio.SocketListener(bound)])
        yield str(path)
        serving.cancel_scope.cancel()


def saying(text: bytes) -> Answer:
    async def answer(stream: trio.SocketStream) -> None:
        request = bytes(await stream.receive_some())
        assert request.startswith(b"GET /readyz HTTP/1.1\r\n")
        assert request.endswith(b"\r\n\r\n")
        await stream.send_all(text)

    return answer


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        (b"HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 503 \r\n\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"\x00\x01", False),
        (b"", False),
    ],
)
async def test_only_a_ready_agent_is_a_successor(tmp_path: Path, text: bytes, ready: bool) -> None:
    async with agent_at(tmp_path / "control", saying(text)) as control:
        assert await successor_ready(control) is ready


async def test_who_hangs_up_at_once_is_none(tmp_path: Path) -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.aclose()

    async with agent_at(tmp_path / "control", hang_up) as control:
        assert not await successor_ready(control)


@pytest.mark.parametrize("name", ["missing", "no/folder", "x" * 200])
async def test_nobody_there_is_none(tmp_path: Path, name: str) -> None:
    assert not await successor_ready(str(tmp_path / name))


async def test_a_file_of_a_dead_agent_is_none(tmp_path: Path) -> None:
    bound = trio.socket.socket(trio.socket.AF_UNIX)
    await bound.bind(str(tmp_path / "control"))
    bound.close()
    assert not await successor_ready(str(tmp_path / "control"))


async def test_a_silent_one_is_none_after_two_seconds(tmp_path: Path) -> None:
    async def be_silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with agent_at(tmp_path / "control", be_silent) as control:
        began = trio.current_time()
        assert not await successor_ready(control)
        assert 1.9 < trio.current_time() - began < 4
