"""World. The sockets of the agent, opened and served; and clients that mean no good."""

import contextlib
import fcntl
import os
import random
import socket
import stat
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from meshtrio.admin.server import AdminError, Sockets, open_sockets, serve
from meshtrio.places import lock_path
from meshtrio.web.message import Request, Response
from meshtrio.web.router import Route, Router

# Opening


@contextlib.contextmanager
def opened(control: Path, port: int = 0, bind: str = "127.0.0.1") -> Iterator[Sockets]:
    sockets = open_sockets(control, bind, port)
    try:
        yield sockets
    finally:
        sockets.close()


def test_both_listen_and_the_control_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    control = tmp_path / "new" / "folder" / "control.sock"
    with opened(control) as sockets:
        assert stat.S_IMODE(control.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(control.stat().st_mode)
        assert stat.S_IMODE(lock_path(control).stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(control))
        with socket.create_connection(sockets.admin.getsockname()):
            pass
        for one in (sockets.admin.fileno(), sockets.control.fileno(), sockets.lock):
            assert one > 2
    assert not control.exists()
    assert not lock_path(control).exists()
    with opened(control):
        assert control.exists()


def test_a_lock_of_a_file_that_was_taken_away_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking, the agent that ends takes the file away."""
    control = tmp_path / "control.sock"
    flock = fcntl.flock
    taken_away: list[int] = []

    def late(descriptor: int, how: int) -> None:
        if not taken_away:
            lock_path(control).unlink()
            taken_away.append(descriptor)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with opened(control) as first:
        assert lock_path(control).stat().st_ino == os.fstat(first.lock).st_ino
        with pytest.raises(AdminError, match="another agent"):
            open_sockets(control, "127.0.0.1", 0)


def test_the_mask_of_the_process_is_as_before(tmp_path: Path) -> None:
    with opened(tmp_path / "control.sock"):
        made = tmp_path / "file"
        made.write_text("")
        assert stat.S_IMODE(made.stat().st_mode) == 0o644


def test_on_ipv6(tmp_path: Path) -> None:
    with opened(tmp_path / "control.sock", bind="::1") as sockets:
        assert sockets.admin.family == socket.AF_INET6


def test_a_second_agent_is_told_so_and_harms_nothing(tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    with opened(control):
        with pytest.raises(AdminError, match="another agent runs"):
            open_sockets(control, "127.0.0.1", 0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(control))


def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            AdminError, match=rf"admin port 127\.0\.0\.1 {port}: Address.*in use.*ports\.admin"
        ):
            open_sockets(control, "127.0.0.1", port)
    assert not control.exists()
    with opened(control, port):  # and nothing of the first try is in the way
        pass


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(AdminError, match="Cannot assign"):
        open_sockets(tmp_path / "control.sock", "203.0.113.1", 0)


def test_what_a_killed_agent_left_is_replaced(tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control))
    lock_path(control).write_text("")
    with opened(control), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(control))


@pytest.mark.parametrize("there", ["file", "link"])
def test_a_file_in_its_place_is_replaced(tmp_path: Path, there: str) -> None:
    control = tmp_path / "control.sock"
    precious = tmp_path / "precious"
    precious.write_text("dear")
    if there == "file":
        control.write_text("old")
    else:
        control.symlink_to(precious)
    with opened(control):
        assert stat.S_ISSOCK(control.lstat().st_mode)
    assert precious.read_text() == "dear"


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "control.sock").mkdir()
    with pytest.raises(AdminError, match=r"cannot listen on .*directory.*paths\.control"):
        open_sockets(tmp_path / "control.sock", "127.0.0.1", 0)


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    control = tmp_path / ("x" * 108)
    with pytest.raises(AdminError, match=r"path too long.*paths\.control"):
        open_sockets(control, "127.0.0.1", 0)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdminError, match=r"cannot use .*/file: .*paths\.control"):
        open_sockets(tmp_path / "file" / "control.sock", "127.0.0.1", 0)


# Serving

ANSWER = b"x" * 100_000
GREAT = 50 << 20


async def answer(request: Request) -> Response:
    """Answer, or fail in one of several ways."""
    if request.path == "/fails":
        raise ValueError("unforeseen")
    if request.path == "/sleeps":
        await trio.sleep_forever()
    headers = {"bad": "a\r\nb"} if request.path == "/forbidden" else {}
    return Response(bytes(GREAT) if request.path == "/great" else ANSWER, headers=headers)


PATHS = ("/", "/fails", "/sleeps", "/great", "/forbidden")
app = Router([Route(path, answer, ["GET", "PUT"]) for path in PATHS])


@asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Serve on a loopback port; leaving must not take long, whatever clients do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with trio.open_nursery() as serving:
            await serving.start(serve, app, listener)
            yield listener.getsockname()[1]
            began = trio.current_time()
            serving.cancel_scope.cancel()
        assert trio.current_time() - began < 1
        assert listener.fileno() >= 0


async def say(port: int, raw: bytes, patience_s: float = 3) -> bytes:
    """Send these bytes, and return what comes until the server hangs up or patience ends."""
    heard = b""
    with trio.move_on_after(patience_s):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(raw)
                async for some in stream:
                    heard += some
    return heard


def request(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: x", "connection: close", *headers, "", ""]).encode()


async def good(port: int) -> None:
    assert (await say(port, request("/"))).endswith(ANSWER)


async def test_it_answers_and_ends_with_its_clients() -> None:
    async with server() as port:
        await good(port)


async def test_two_requests_on_one_connection() -> None:
    async with server() as port:
        heard = await say(port, request("/").replace(b"close", b"keep-alive") + request("/"))
        assert heard.count(b"HTTP/1.1 200") == 2


GARBAGE = {
    "zeros": bytes(100_000),
    "TLS": bytes.fromhex("16030100c8010000c4030300") + bytes(200),
    "endless head": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
    "endless line": b"GET /" + b"x" * 100_000,
    "no version": b"GET /\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two lengths": b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "bad chunks": b"PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 300,
    "HTTP/2, upgraded": request("/", "upgrade: h2c", "http2-settings: !!").replace(b"close", b"upgrade"),
    "WebSocket": request("/").replace(b"close", b"upgrade\r\nupgrade: websocket"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_harms_nobody_else(garbage: bytes) -> None:
    async with server() as port:
        await say(port, garbage, patience_s=0.3)
        await good(port)


async def test_random_bytes_harm_nobody_else() -> None:
    luck = random.Random(5)
    starts = [b"", b"GET ", b"GET / HTTP/1.1\r\n", b"PUT / HTTP/1.1\r\nhost: x\r\n", GARBAGE["HTTP/2"][:24]]
    async with server() as port:
        async with trio.open_nursery() as throwing:
            for number in range(60):
                raw = starts[number % len(starts)] + luck.randbytes(luck.randrange(400))
                throwing.start_soon(say, port, raw, 0.3)
        await good(port)


@pytest.mark.parametrize("path", ["/fails", "/forbidden"])
async def test_an_application_that_fails_costs_only_its_own_client(path: str) -> None:
    async with server() as port:
        assert b"HTTP/1.1 500" in await say(port, request(path))
        await good(port)


async def test_slow_clients_do_not_stand_in_the_way() -> None:
    """They send nothing, or half a head, or wait, or do not read: others get answers, and we can end."""
    async with server() as port:
        slow = []
        for number in range(40):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all([b"", b"GET / HT", request("/sleeps"), request("/great")][number % 4])
            slow.append(stream)
        await trio.sleep(0.2)
        began = trio.current_time()
        await good(port)
        assert trio.current_time() - began < 1
    for stream in slow:
        await stream.aclose()


async def test_a_client_that_resets_amid_an_answer_harms_nobody_else() -> None:
    async with server() as port:
        for _ in range(5):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(request("/great"))
            await stream.receive_some(10)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        await good(port)


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    with opened(tmp_path / "control.sock") as sockets:
        async with trio.open_nursery() as serving:
            await serving.start(serve, app, sockets.control)
            stream = await trio.open_unix_socket(str(tmp_path / "control.sock"))
            async with stream:
                await stream.send_all(request("/"))
                heard = b"".join([some async for some in stream])
            assert heard.endswith(ANSWER)
            serving.cancel_scope.cancel()


async def test_a_bug_in_serving_one_client_is_logged_and_the_others_are_served(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*anything: object) -> None:
        raise RuntimeError("unforeseen")

    async with server() as port:
        with monkeypatch.context() as patch:
            patch.setattr("meshtrio.admin.server.converse", broken)
            assert await say(port, request("/")) == b""
        await good(port)
    assert "unforeseen" in caplog.text
