"""Real connections: made, refused, lost, and left without a RST."""

import errno
import os
import resource
import socket

import pytest
import trio

from meshtrio.address import Address
from meshtrio.catalog.probing import Answer, Finding, Manner, Target
from meshtrio.discover import probe_tcp
from meshtrio.discover.probe_tcp import Unanswered, ask_nothing, connected, leave, receive, send_all
from meshtrio.intercept import marks
from tests.support.probed import Serve, black_hole, refusing, serving


async def hear_out(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_connection_is_all_it_takes(host: str) -> None:
    async with serving(hear_out, host) as address:
        sock = await connected(address)
        assert await ask_nothing(sock, Target(address, Manner())) == Answer(Finding.PASSED, "connected")
        await leave(sock)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_refusal_is_an_answer(host: str) -> None:
    with refusing(host) as address, pytest.raises(Unanswered) as refused:
        await connected(address)
    assert refused.value.answer == Answer(Finding.FAILED, f"cannot connect to {address}: Connection refused")


async def test_a_black_hole_is_waited_for_by_the_caller() -> None:
    with black_hole() as address, trio.move_on_after(0.05) as scope:
        await connected(address)
    assert scope.cancelled_caught


async def test_the_socket_carries_our_mark() -> None:
    if os.geteuid():
        pytest.skip("needs root to set a mark")
    async with serving(hear_out) as address:
        sock = await connected(address)
        mark = sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
        assert mark & marks.MASK == marks.APP_DIAL
        await leave(sock)


async def test_our_own_want_is_not_the_endpoints_fault() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(Unanswered) as short:
            await connected(Address.of("127.0.0.1", 1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert short.value.answer == Answer(Finding.VOID, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("greeting", [b"", b"220 mail.example.com ESMTP\r\n" * 100])
async def test_whoever_greets_sees_a_clean_end(greeting: bytes) -> None:
    seen: list[str] = []

    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(greeting)
        try:
            seen.append("eof" if not await stream.receive_some() else "bytes")
            # A RST that answers what we had said would come by now.
            await trio.sleep(0.02)
            await stream.send_all(b"221 bye\r\n")
        except trio.BrokenResourceError:
            seen.append("reset")

    async with serving(greet) as address:
        await leave(await connected(address))
    assert seen == ["eof"]


async def stay(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def talk(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"x" * 65_536)


@pytest.mark.parametrize(("serve", "leave_s"), [(stay, 0.05), (talk, 60)])
async def test_nobody_is_heard_out_for_ever(
    monkeypatch: pytest.MonkeyPatch, serve: Serve, leave_s: float
) -> None:
    monkeypatch.setattr(probe_tcp, "LEAVE_S", leave_s)
    async with serving(serve) as address:
        sock = await connected(address)
        with trio.fail_after(2):
            await leave(sock)
        assert sock.fileno() == -1


async def test_a_cancelled_goodbye_closes_all_the_same() -> None:
    async with serving(hear_out) as address:
        sock = await connected(address)
        with trio.CancelScope() as scope:
            scope.cancel()
            await leave(sock)
        assert sock.fileno() == -1


async def test_bytes_come_and_go_and_an_end_is_silence() -> None:
    async def echo_once(stream: trio.SocketStream) -> None:
        await stream.send_all(await stream.receive_some(5))

    async with serving(echo_once) as address:
        sock = await connected(address)
        await send_all(sock, b"hello")
        assert await receive(sock, 100) == b"hello"
        with pytest.raises(Unanswered) as closed:
            await receive(sock, 100)
        assert closed.value.answer == Answer(Finding.SILENT, "closed before an answer")
        await leave(sock)


async def test_a_reset_is_silence() -> None:
    async def reset(stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with serving(reset) as address:
        sock = await connected(address)
        with pytest.raises(Unanswered) as cut:
            await receive(sock, 100)
        assert cut.value.answer == Answer(Finding.SILENT, "cut before an answer: Connection reset by peer")
        with pytest.raises(Unanswered) as cut:
            await send_all(sock, b"hello")
        assert cut.value.answer == Answer(Finding.SILENT, "cut while we asked: Broken pipe")
        await leave(sock)
